package main

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// grants are what the roles of the resources allow: a role's kind, namespace and name to
// its rules. A role that collects rules has those of the roles that it selects.
func grants(t *testing.T, all objects) map[string][]rbacv1.PolicyRule {
	t.Helper()
	granted := map[string][]rbacv1.PolicyRule{}
	for _, role := range typed[rbacv1.Role](t, all, rbacv1.SchemeGroupVersion.WithKind("Role")) {
		granted["Role "+role.Namespace+"/"+role.Name] = role.Rules
	}
	clusterRoles := typed[rbacv1.ClusterRole](t, all, rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
	for _, role := range clusterRoles {
		found := role.Rules
		if role.AggregationRule != nil {
			for _, labelled := range clusterRoles {
				if selects(t, role.AggregationRule, labelled.Labels) {
					found = slices.Concat(found, labelled.Rules)
				}
			}
		}
		granted["ClusterRole /"+role.Name] = found
	}
	return granted
}

func selects(t *testing.T, rule *rbacv1.AggregationRule, set labels.Set) bool {
	t.Helper()
	return slices.ContainsFunc(rule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
		selector, err := metav1.LabelSelectorAsSelector(&s)
		if err != nil {
			t.Fatal(err)
		}
		return selector.Matches(set)
	})
}

// rulesIn are the rules of an account in a namespace.
func rulesIn(t *testing.T, all objects, ns string, account types.NamespacedName) (found []rbacv1.PolicyRule) {
	t.Helper()
	granted := grants(t, all)
	bound := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return s.Namespace == account.Namespace && s.Name == account.Name })
	}
	for _, b := range typed[rbacv1.ClusterRoleBinding](t, all, rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding")) {
		if bound(b.Subjects) {
			found = append(found, granted["ClusterRole /"+b.RoleRef.Name]...)
		}
	}
	for _, b := range typed[rbacv1.RoleBinding](t, all, rbacv1.SchemeGroupVersion.WithKind("RoleBinding")) {
		if b.Namespace == ns && bound(b.Subjects) {
			of := map[string]string{"Role": ns}[b.RoleRef.Kind]
			found = append(found, granted[b.RoleRef.Kind+" "+of+"/"+b.RoleRef.Name]...)
		}
	}
	return found
}

// needs reports the calls that an account makes in a namespace and may not make.
func needs(t *testing.T, all objects, ns string, account types.NamespacedName, group, resource string, verbs ...string) {
	t.Helper()
	found := rulesIn(t, all, ns, account)
	for _, verb := range verbs {
		if !slices.ContainsFunc(found, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb)
		}) {
			t.Errorf("account %s: expected that it may %s %s.%s in namespace %s", account, verb, resource, group, ns)
		}
	}
}

// TestRights checks that the model source and the engines may make the calls that they
// make. (What the steps of an author need besides is not known here.)
func TestRights(t *testing.T) {
	all := everything(t)
	source := types.NamespacedName{Namespace: system, Name: "modelsource"}
	for _, kind := range kindsOf(t, all) {
		needs(t, all, "default", source, kind.GVK.Group, kind.Resource, "list", "watch")
	}
	for _, p := range parties {
		kinds := kindsOf(t, applied(t, p.resources...))
		for _, kind := range kinds {
			for _, s := range kind.Steps {
				for _, trigger := range passing(triggersOf(t, all), wakeEvent(kind, p.ns, s)) {
					engineNeeds(t, all, p.ns, accountOfSubscriber(t, all, &trigger), s, kind, kinds)
				}
			}
		}
		deadletter := types.NamespacedName{Namespace: system, Name: "deadletter"}
		needs(t, all, p.ns, deadletter, "core.xos-knative.dev", "deadletters", "get", "list", "create", "patch", "delete")
		needs(t, all, p.ns, deadletter, "core.xos-knative.dev", "deadletters/status", "patch")
	}
}

// engineNeeds checks what the engine of one step does with objects of the kind, and the
// engine of sync with what they depend on and what depends on them.
func engineNeeds(t *testing.T, all objects, ns string, account types.NamespacedName, s model.Step, kind *model.Kind, kinds []*model.Kind) {
	t.Helper()
	needs(t, all, ns, account, "apiextensions.k8s.io", "customresourcedefinitions", "list")
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource, "get")
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource+"/status", "patch")
	needs(t, all, ns, account, "events.k8s.io", "events", "create", "patch")
	if s != model.StepSync {
		return
	}
	// The finalizer.
	needs(t, all, ns, account, kind.GVK.Group, kind.Resource, "patch")
	for _, other := range kinds {
		if dependsOn(kind, other) {
			needs(t, all, ns, account, other.GVK.Group, other.Resource, "get")
		}
		if dependsOn(other, kind) {
			needs(t, all, ns, account, other.GVK.Group, other.Resource, "list", "delete")
		}
	}
}

func dependsOn(kind, other *model.Kind) bool {
	return slices.ContainsFunc(kind.DependsOn, func(d model.DependsOn) bool { return d.GroupKind.Kind == other.GVK.Kind })
}

func accountOfSubscriber(t *testing.T, all objects, trigger *eventingv1.Trigger) types.NamespacedName {
	t.Helper()
	function := subscriberOf(all, trigger)
	if function == nil {
		t.Fatalf("Trigger %s: its subscriber is not there", trigger.Name)
	}
	name, _, _ := unstructured.NestedString(function.Object, "spec", "template", "spec", "serviceAccountName")
	return types.NamespacedName{Namespace: function.GetNamespace(), Name: name}
}
