package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apifields "k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// simAPI is a model of the Kubernetes API server, as far as functions and the source use it: names and UIDs,
// resource versions and conflicts, generations, finalizers, the status subresource and watches. It answers at
// once and one request after the other. TestSimulatedAPI compares it with the real one.
type simAPI struct {
	kinds       []*model.Kind
	definitions *unstructured.UnstructuredList
	version     int64
	uids        int64
	objects     map[simRef]*unstructured.Unstructured // Never changed, only replaced.
	// log has all changes, for watches; resource version n is log[n-1].
	log []simChange
	// policed has the version at which the first success of an object's policy was stored.
	policed map[types.UID]int64
	// done are the requests and their answers, if somebody wants to know.
	done *[]simDone
}

type simDone struct {
	simRequest
	err error
	// object is as it is after the request, nil if it is gone.
	object *unstructured.Unstructured
}

type simRef struct{ plural, namespace, name string }

type simChange struct {
	watch.EventType
	simRef
	// object is as it is after the change, or was before it was removed.
	object *unstructured.Unstructured
	// snapshot is what sources make of it. All of them may keep the same, as they change none.
	snapshot *model.Snapshot
}

// simDefinitions reads the definitions of the library, without what nobody looks at here.
var simDefinitions = sync.OnceValue(func() (all []*apiextensionsv1.CustomResourceDefinition) {
	files, _ := filepath.Glob("../testdata/library/config/crds/*.yaml")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err == nil {
			err = yaml.Unmarshal(raw, crd)
		}
		if err != nil {
			panic(err)
		}
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Schema, crd.Spec.Versions[i].AdditionalPrinterColumns = nil, nil
		}
		crd.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}}
		all = append(all, crd)
	}
	return all
})

func newSimAPI() *simAPI {
	a := &simAPI{objects: map[simRef]*unstructured.Unstructured{}, policed: map[types.UID]int64{}}
	a.definitions = &unstructured.UnstructuredList{}
	for _, crd := range simDefinitions() {
		k, err := model.ParseKind(crd)
		if err != nil {
			panic(err)
		}
		a.kinds = append(a.kinds, k)
		content, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
		a.definitions.Items = append(a.definitions.Items, unstructured.Unstructured{Object: content})
	}
	return a
}

func (a *simAPI) kind(plural string) *model.Kind {
	i := slices.IndexFunc(a.kinds, func(k *model.Kind) bool { return k.Resource == plural })
	return a.kinds[i]
}

// simRequest is a request of a pod.
type simRequest struct {
	verb string // As RBAC knows them.
	simRef
	status   bool
	patch    types.PatchType
	body     []byte
	object   *unstructured.Unstructured
	selector string
	must     *metav1.Preconditions
	notOlder int64 // The version that a get asks for, zero for the newest.
}

func (r simRequest) String() string {
	name := r.plural + "/" + r.name
	if r.status {
		name += "/status"
	}
	return r.verb + " " + name
}

// do answers a request at a time. What it returns must not be changed.
func (a *simAPI) do(r simRequest, now time.Time) (runtime.Object, error) {
	result, err := a.answer(r, now)
	if a.done != nil {
		*a.done = append(*a.done, simDone{r, err, a.objects[r.simRef]})
	}
	return result, err
}

func (a *simAPI) answer(r simRequest, now time.Time) (runtime.Object, error) {
	switch r.verb {
	case "get":
		return a.get(r.simRef)
	case "list":
		return a.list(r), nil
	case "create":
		return a.create(r.simRef, r.object, now)
	case "patch":
		old, err := a.get(r.simRef)
		if err != nil {
			return nil, err
		}
		wanted, err := patched(r, old)
		if err != nil {
			return nil, err
		}
		return a.update(r.simRef, old, wanted, r.status)
	case "update":
		old, err := a.get(r.simRef)
		if err != nil {
			return nil, err
		}
		return a.update(r.simRef, old, r.object, r.status)
	}
	return nil, a.delete(r.simRef, r.must, now)
}

func (a *simAPI) get(ref simRef) (*unstructured.Unstructured, error) {
	if u := a.objects[ref]; u != nil {
		return u, nil
	}
	return nil, apierrors.NewNotFound(a.resource(ref), ref.name)
}

// was answers a get with the object as it was at a version.
func (a *simAPI) was(ref simRef, version int64) any {
	for _, c := range slices.Backward(a.log[:version]) {
		if c.simRef == ref && c.EventType != watch.Deleted {
			return simAnswer{c.object}
		} else if c.simRef == ref {
			break
		}
	}
	return apierrors.NewNotFound(a.resource(ref), ref.name)
}

func (a *simAPI) resource(ref simRef) schema.GroupResource {
	return a.kind(ref.plural).GVR().GroupResource()
}

func (a *simAPI) list(r simRequest) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{Object: map[string]any{}}
	selector := apifields.ParseSelectorOrDie(r.selector)
	for _, u := range a.all(r.plural) {
		matches := true
		for _, q := range selector.Requirements() {
			value, _, _ := unstructured.NestedString(u.Object, strings.Split(q.Field, ".")...)
			matches = matches && value == q.Value
		}
		if matches {
			list.Items = append(list.Items, *u)
		}
	}
	return list
}

// all are the objects of a kind by name.
func (a *simAPI) all(plural string) (all []*unstructured.Unstructured) {
	for ref, u := range a.objects {
		if ref.plural == plural {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(x, y *unstructured.Unstructured) int { return strings.Compare(x.GetName(), y.GetName()) })
	return all
}

func (a *simAPI) create(ref simRef, u *unstructured.Unstructured, now time.Time) (*unstructured.Unstructured, error) {
	if a.objects[ref] != nil {
		return nil, apierrors.NewAlreadyExists(a.resource(ref), ref.name)
	}
	u = u.DeepCopy()
	a.uids++
	u.SetUID(types.UID(fmt.Sprintf("uid-%d", a.uids)))
	u.SetNamespace(ref.namespace)
	u.SetName(ref.name)
	u.SetCreationTimestamp(metav1.NewTime(now.Truncate(time.Second)))
	u.SetGeneration(1)
	u.Object["status"] = map[string]any{} // The default of the definition.
	return a.store(watch.Added, ref, u), nil
}

// store makes a change, and puts it into the log.
func (a *simAPI) store(change watch.EventType, ref simRef, u *unstructured.Unstructured) *unstructured.Unstructured {
	a.version++
	u.SetResourceVersion(fmt.Sprint(a.version))
	a.objects[ref] = u
	if change == watch.Deleted {
		delete(a.objects, ref)
	}
	a.log = append(a.log, simChange{EventType: change, simRef: ref, object: u})
	if _, found, _ := unstructured.NestedString(u.Object, "status", "policy", "lastSuccess"); found && a.policed[u.GetUID()] == 0 {
		a.policed[u.GetUID()] = a.version
	}
	return u
}

// patched is the object as the patch of a request makes it.
func patched(r simRequest, old *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	u := old.DeepCopy()
	if r.patch == types.MergePatchType {
		raw, err := jsonpatch.MergePatch(must(json.Marshal(old.Object)), r.body)
		if err != nil {
			return nil, err
		}
		return u, u.UnmarshalJSON(raw)
	}
	var patch []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if err := utiljson.Unmarshal(r.body, &patch); err != nil {
		return nil, err
	}
	for _, p := range patch {
		if !operate(u.Object, p.Op, strings.Split(p.Path, "/")[1:], p.Value) {
			message := fmt.Sprintf("%s of %s failed", p.Op, p.Path)
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", message, 0, false)
		}
	}
	return u, nil
}

// operate applies an operation of a JSON patch. (The library that the API server uses for that would take a
// fifth of the time of a history.)
func operate(object map[string]any, op string, path []string, value any) bool {
	parent, last := path[:len(path)-1], path[len(path)-1]
	in, found, _ := unstructured.NestedFieldNoCopy(object, parent...)
	if !found {
		return op == "test" && value == nil
	}
	list, isList := in.([]any)
	if !isList {
		fields := in.(map[string]any)
		switch old, found := fields[last]; op {
		case "test":
			return reflect.DeepEqual(old, value)
		case "remove":
			delete(fields, last)
			return found
		}
		if fields[last] = value; value == nil {
			delete(fields, last) // No field of the library is nullable.
		}
		return true
	}
	i, err := strconv.Atoi(last)
	switch {
	case op == "add" && last == "-":
		list = append(list, value)
	case err != nil || i >= len(list):
		return false
	case op == "test":
		return reflect.DeepEqual(list[i], value)
	default:
		list = slices.Delete(list, i, i+1)
	}
	return unstructured.SetNestedField(object, list, parent...) == nil
}

func must[T any](t T, err error) T {
	if err != nil {
		panic(err)
	}
	return t
}

// update makes the object like the wanted one: its status, or all but the status.
func (a *simAPI) update(ref simRef, old, wanted *unstructured.Unstructured, status bool) (*unstructured.Unstructured, error) {
	if v := wanted.GetResourceVersion(); v != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(a.resource(ref), ref.name, errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	u := old.DeepCopy()
	if status {
		u.Object["status"] = wanted.Object["status"]
	} else {
		u = wanted.DeepCopy()
		if u.Object["status"] = old.Object["status"]; u.Object["status"] == nil {
			delete(u.Object, "status")
		}
		for _, f := range u.GetFinalizers() {
			if old.GetDeletionTimestamp() != nil && !slices.Contains(old.GetFinalizers(), f) {
				e := apierrors.NewInvalid(schema.GroupKind{}, ref.name, nil)
				e.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeForbidden, Field: "metadata.finalizers"}}
				return nil, e
			}
		}
		if !reflect.DeepEqual(old.Object["spec"], u.Object["spec"]) {
			u.SetGeneration(old.GetGeneration() + 1)
		}
	}
	if reflect.DeepEqual(old.Object, u.Object) {
		return old, nil
	}
	if u.GetDeletionTimestamp() != nil && len(u.GetFinalizers()) == 0 {
		a.store(watch.Deleted, ref, old.DeepCopy())
		return u, nil
	}
	return a.store(watch.Modified, ref, u), nil
}

func (a *simAPI) delete(ref simRef, must *metav1.Preconditions, now time.Time) error {
	old, err := a.get(ref)
	if err != nil {
		return err
	}
	if must != nil && must.UID != nil && *must.UID != old.GetUID() || must != nil && must.ResourceVersion != nil && *must.ResourceVersion != old.GetResourceVersion() {
		return apierrors.NewConflict(a.resource(ref), ref.name, errors.New("Precondition failed"))
	}
	if len(old.GetFinalizers()) == 0 {
		a.store(watch.Deleted, ref, old.DeepCopy())
		return nil
	}
	if old.GetDeletionTimestamp() != nil {
		return nil
	}
	u := old.DeepCopy()
	at := metav1.NewTime(now.Truncate(time.Second))
	u.SetDeletionTimestamp(&at)
	seconds := int64(0)
	u.SetDeletionGracePeriodSeconds(&seconds)
	u.SetGeneration(old.GetGeneration() + 1)
	a.store(watch.Modified, ref, u)
	return nil
}

// edit is what a user does to an object with one request. It does nothing if the object is not there.
func (a *simAPI) edit(ref simRef, status bool, change func(u *unstructured.Unstructured)) {
	if old := a.objects[ref]; old != nil {
		wanted := old.DeepCopy()
		change(wanted)
		_, _ = a.do(simRequest{verb: "update", simRef: ref, object: wanted, status: status}, time.Now())
	}
}

// snapshots are those of all objects of a kind, as they are.
func (a *simAPI) snapshots(k *model.Kind) (all []*model.Snapshot) {
	for _, u := range a.all(k.Resource) {
		all = append(all, a.snapshot(k, u))
	}
	return all
}

func (a *simAPI) snapshot(k *model.Kind, u *unstructured.Unstructured) *model.Snapshot {
	s, err := k.SnapshotOf(u)
	if err != nil {
		panic(err)
	}
	return s
}

// seen is what sources see of a change.
func (a *simAPI) seen(k *model.Kind, version int64) *model.Snapshot {
	c := &a.log[version-1]
	if c.snapshot == nil {
		c.snapshot = a.snapshot(k, c.object)
	}
	return c.snapshot
}
