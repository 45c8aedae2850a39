package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// labelAggregate is on ClusterRoles whose rules the model source gets.
const labelAggregate = "synchronizer.xos-knative.dev/aggregate-to-modelsource"

// envNamespace is the setting that has the namespace of a function's models.
const envNamespace = "NAMESPACE"

var (
	definitionsResource = schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}
)

// rights checks that the engines and the core may make the calls that they make. (What the steps of an author need
// besides is not known here.)
func (c *checker) rights() {
	for _, f := range c.ownFunctions() {
		c.account(f)
	}
	for _, resource := range []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
		if c.unread(resource+".rbac.authorization.k8s.io", "") {
			return
		}
	}
	for _, f := range c.ownFunctions() {
		// The core's functions get their rights from each synchronizer.
		if f.obj.Namespace != System {
			c.functionRights(f)
		}
	}
	c.sourceRights()
	c.deadletterRights()
}

// account checks that the account of a function is there: otherwise it gets no pods.
func (c *checker) account(f function) {
	name := f.obj.Spec.Template.Spec.ServiceAccountName
	if _, ok := lookup[*corev1.ServiceAccount](c, f.obj.Namespace, name); ok || name == "" || name == "default" || c.unread("serviceaccounts", f.obj.Namespace) {
		return
	}
	c.report(f.Resource, Finding{Field: "spec.template.spec.serviceAccountName", Expected: "a ServiceAccount in namespace " + f.obj.Namespace, Found: name + ", which is not there", Fix: "add it: the function gets no pod without"})
}

// needs are what an account has to be able to do in one namespace: verbs by resource, as resource.group.
type needs map[schema.GroupResource]sets.Set[string]

func (n needs) add(r schema.GroupResource, verbs ...string) {
	if len(verbs) == 0 {
		return
	}
	if n[r] == nil {
		n[r] = sets.New[string]()
	}
	n[r].Insert(verbs...)
}

func status(r schema.GroupResource) schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Resource + "/status"}
}

func resourceOf(k kind) schema.GroupResource { return k.GVR().GroupResource() }

// functionRights checks the account of a function.
func (c *checker) functionRights(f function) {
	byNamespace := map[string]needs{}
	at := func(namespace string) needs {
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = needs{}
		}
		return byNamespace[namespace]
	}
	for _, w := range c.work(f) {
		if _, ok := c.kindOf(w.GroupKind()); !ok && w.Kind != "" {
			continue // Found by wires.
		}
		for _, namespace := range c.where(f, w) {
			c.engineNeeds(at(namespace), w)
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		missing := c.missingRights(accountOf(f), namespace, byNamespace[namespace])
		if missing == "" {
			continue
		}
		c.report(f.Resource, Finding{Field: "spec.template.spec.serviceAccountName", Expected: fmt.Sprintf("an account that may do what the function's engine does in namespace %s", namespace),
			Found: fmt.Sprintf("%s, which may not %s", cmp.Or(accountOf(f).Name, "default"), missing), Fix: "add it to its Role, and check that a RoleBinding leads there"})
	}
}

// work lists the steps of a function. If they are not known it has those that Triggers of Broker models send events for.
func (c *checker) work(f function) []step.Described {
	if f.Description != nil {
		return f.Steps
	}
	var work []step.Described
	for _, k := range c.models {
		for _, s := range k.Steps {
			if len(c.sentTo(f, k, s)) > 0 {
				work = append(work, step.Described{Step: string(s), Group: k.GVK.Group, Kind: k.GVK.Kind, Verbs: []string{"get", "patch"}, StatusVerbs: []string{"patch"}})
			}
		}
	}
	return work
}

// sentTo lists the namespaces from which Triggers send events for a step of a kind to a function.
func (c *checker) sentTo(f function, k kind, s model.Step) (found []string) {
	for _, namespace := range c.namespaces {
		for _, t := range c.passing(k, s, namespace) {
			if c.leadsTo(t.obj.Spec.Subscriber, t.obj.Namespace, f) && !c.flawed.Has(t.obj) {
				found = append(found, namespace)
				break
			}
		}
	}
	return found
}

// where lists the namespaces of the models that a step works on.
func (c *checker) where(f function, d step.Described) []string {
	if d.Step == "pull" || d.Step == "event" {
		return []string{cmp.Or(envOf(f.obj)[envNamespace], f.obj.Namespace)}
	}
	k, _ := c.kindOf(d.GroupKind())
	namespaces := c.sentTo(f, k, model.Step(d.Step))
	if len(namespaces) == 0 || slices.Contains(namespaces, elsewhere) {
		// Whether the account has its rights everywhere is asked of the Trigger.
		return []string{f.obj.Namespace}
	}
	return namespaces
}

// engineNeeds adds what the engine of a step needs.
func (c *checker) engineNeeds(n needs, d step.Described) {
	if d.Kind != "" {
		n.add(definitionsResource, "list")
	}
	var kinds []*model.Kind
	for _, k := range c.models {
		kinds = append(kinds, k.Kind)
	}
	for _, r := range d.Rights(kinds) {
		n.add(schema.GroupResource{Group: r.Group, Resource: r.Resource}, r.Verbs...)
	}
}

// sourceRights checks that the model source may read the kinds.
func (c *checker) sourceRights() {
	var source types.NamespacedName
	for _, s := range all[*sourcesv1.ContainerSource](c) {
		if s.obj.Namespace == System && s.obj.Spec.Sink.Ref != nil && s.obj.Spec.Sink.Ref.Name == modelsBroker {
			source = types.NamespacedName{Namespace: System, Name: s.obj.Spec.Template.Spec.ServiceAccountName}
		}
	}
	if source.Name == "" {
		return
	}
	for _, k := range c.models {
		n := needs{}
		n.add(resourceOf(k), "get", "list", "watch")
		if missing := c.missingRights(source, elsewhere, n); missing != "" {
			c.report(k.definition.Resource, Finding{Field: "spec.names.plural", Expected: "a kind that the model source may read in all namespaces", Found: fmt.Sprintf("account %s, which may not %s", source.Name, missing),
				Fix: fmt.Sprintf(`add a ClusterRole with the label %s: "true" that allows it`, labelAggregate)})
		}
	}
}

// deadletterRights checks that the core's function for dead letters may keep them in the namespaces of Brokers.
func (c *checker) deadletterRights() {
	f, ok := c.functionAt(System, deadletter)
	if !ok {
		return
	}
	for _, b := range own[*eventingv1.Broker](c) {
		d := b.obj.Spec.Delivery
		if d == nil || d.DeadLetterSink == nil || !c.leadsTo(*d.DeadLetterSink, b.obj.Namespace, f) {
			continue
		}
		letters := schema.GroupResource{Group: coreGroup, Resource: "deadletters"}
		n := needs{}
		n.add(letters, "get", "list", "create", "patch", "delete")
		n.add(status(letters), "patch")
		if missing := c.missingRights(accountOf(f), b.obj.Namespace, n); missing != "" {
			c.report(b.Resource, Finding{Field: "spec.delivery.deadLetterSink", Expected: "a function that may keep dead letters in namespace " + b.obj.Namespace, Found: fmt.Sprintf("account %s/%s, which may not %s", System, accountOf(f).Name, missing),
				Fix: fmt.Sprintf("add a RoleBinding of the account to ClusterRole synchronizer-deadletter in namespace %s", b.obj.Namespace)})
		}
	}
}

// mayEverywhere reports whether the account of a function has the rights for its steps in every namespace.
func (c *checker) mayEverywhere(f function) bool {
	if c.unread("clusterroles.rbac.authorization.k8s.io", "") || c.unread("clusterrolebindings.rbac.authorization.k8s.io", "") {
		return true
	}
	n := needs{}
	for _, w := range c.work(f) {
		if _, ok := c.kindOf(w.GroupKind()); ok {
			c.engineNeeds(n, w)
		}
	}
	return c.missingRights(accountOf(f), elsewhere, n) == ""
}

func accountOf(f function) types.NamespacedName {
	return types.NamespacedName{Namespace: f.obj.Namespace, Name: cmp.Or(f.obj.Spec.Template.Spec.ServiceAccountName, "default")}
}

// missingRights says what an account may not do in a namespace, empty if it may do everything that it needs.
func (c *checker) missingRights(account types.NamespacedName, namespace string, n needs) string {
	rules := c.rulesIn(namespace, account)
	var parts []string
	for r, verbs := range n {
		var missing []string
		for _, verb := range sets.List(verbs) {
			if !slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool { return allows(rule, r, verb) }) {
				missing = append(missing, verb)
			}
		}
		if len(missing) > 0 {
			// As in `kubectl auth can-i`.
			resource, sub, _ := strings.Cut(r.Resource, "/")
			if sub != "" {
				sub = "/" + sub
			}
			parts = append(parts, fmt.Sprintf("%s %s.%s%s", strings.Join(missing, ", "), resource, r.Group, sub))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

func allows(rule rbacv1.PolicyRule, r schema.GroupResource, verb string) bool {
	has := func(list []string, value string) bool {
		return slices.Contains(list, value) || slices.Contains(list, "*")
	}
	_, sub, isSub := strings.Cut(r.Resource, "/")
	resource := has(rule.Resources, r.Resource) || isSub && slices.Contains(rule.Resources, "*/"+sub)
	return len(rule.ResourceNames) == 0 && resource && has(rule.APIGroups, r.Group) && has(rule.Verbs, verb)
}

// rulesIn are the rules of an account in a namespace.
func (c *checker) rulesIn(namespace string, account types.NamespacedName) (found []rbacv1.PolicyRule) {
	for _, b := range all[*rbacv1.ClusterRoleBinding](c) {
		if bound(b.obj.Subjects, "", account) {
			found = append(found, c.clusterRole(b.obj.RoleRef.Name)...)
		}
	}
	for _, b := range all[*rbacv1.RoleBinding](c) {
		if b.obj.Namespace != namespace || !bound(b.obj.Subjects, namespace, account) {
			continue
		}
		if b.obj.RoleRef.Kind == "ClusterRole" {
			found = append(found, c.clusterRole(b.obj.RoleRef.Name)...)
		} else if role, ok := lookup[*rbacv1.Role](c, namespace, b.obj.RoleRef.Name); ok {
			found = append(found, role.obj.Rules...)
		}
	}
	return found
}

// bound reports whether an account is one of the subjects of a binding, by itself or by a group of all accounts.
func bound(subjects []rbacv1.Subject, namespace string, account types.NamespacedName) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			return cmp.Or(s.Namespace, namespace) == account.Namespace && s.Name == account.Name
		case rbacv1.UserKind:
			return s.Name == fmt.Sprintf("system:serviceaccount:%s:%s", account.Namespace, account.Name)
		}
		return slices.Contains([]string{"system:serviceaccounts", "system:serviceaccounts:" + account.Namespace, "system:authenticated"}, s.Name)
	})
}

// clusterRole are the rules of a ClusterRole. One that collects rules has those of the roles that it selects.
func (c *checker) clusterRole(name string) []rbacv1.PolicyRule {
	role, ok := lookup[*rbacv1.ClusterRole](c, "", name)
	if !ok {
		return nil
	}
	rules := slices.Clone(role.obj.Rules)
	if role.obj.AggregationRule == nil {
		return rules
	}
	for _, other := range all[*rbacv1.ClusterRole](c) {
		if slices.ContainsFunc(role.obj.AggregationRule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
			selector, err := metav1.LabelSelectorAsSelector(&s)
			return err == nil && selector.Matches(labels.Set(other.obj.Labels))
		}) {
			rules = append(rules, other.obj.Rules...)
		}
	}
	return rules
}
