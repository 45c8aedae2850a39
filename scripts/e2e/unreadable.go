package main

import (
	"context"
	"strings"
)

// notes is a kind whose objects depend on services and may look like anything, with the rights that those need who look
// for dependents. The rights come first: the model source asks as soon as there is a definition. The kind has no steps, so
// there is no function, and its objects get no finalizers.
const notes = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: notes-modelsource
  labels: {synchronizer.xos-knative.dev/aggregate-to-modelsource: "true"}
rules:
- {apiGroups: [notes.example.dev], resources: [notes], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: sync-notes, namespace: helloworld}
rules:
- {apiGroups: [notes.example.dev], resources: [notes], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: sync-notes, namespace: helloworld}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: sync-notes}
subjects:
- {kind: ServiceAccount, name: sync, namespace: helloworld}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: notes.notes.example.dev
  labels: {synchronizer.xos-knative.dev/model: "true"}
  annotations: {synchronizer.xos-knative.dev/depends-on: HelloWorldService.helloworld.xos-knative.dev=spec.service}
spec:
  group: notes.example.dev
  scope: Namespaced
  names: {kind: Note, plural: notes}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func note(name string, service any) any {
	return map[string]any{"apiVersion": "notes.example.dev/v1", "kind": "Note",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"service": service}}
}

// unreadable has a note that names its service by a number: no service waits for it. One waits for a note that names it.
func (s *suite) unreadable(ctx context.Context) error {
	remove := func(ctx context.Context) error {
		_, err := kubectlStdin(ctx, notes, "delete", "--ignore-not-found", "-f", "-", timeout)
		return err
	}
	s.onEnd(remove) // The core cannot be removed before.
	if _, err := kubectlStdin(ctx, notes, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := kubectlAll(ctx, "wait --for=condition=Established crd/notes.notes.example.dev "+timeout); err != nil {
		return err
	}
	if err := apply(ctx, newService("unrelated", "Podrick"), newService("noted", "Bronn"), note("odd", 5), note("good", "noted")); err != nil {
		return err
	}
	if err := kubectlAll(ctx,
		"wait --for=condition=Ready hws/unrelated hws/noted "+timeout,
		"delete hws/unrelated "+timeout,
		"delete hws/noted --wait=false",
		"wait --for=jsonpath={.status.sync.waitingFor[0].name}=good hws/noted "+timeout,
		"delete notes/good "+timeout,
	); err != nil {
		return err
	}
	if err := gone(ctx, "hws", "noted"); err != nil {
		return err
	}
	return remove(ctx)
}

// openShelf lets a book have anything for a shelf, which then cannot be selected by its name.
const openShelf = `[
	{"op": "remove", "path": "/spec/versions/0/selectableFields"},
	{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shelf",
		"value": {"x-kubernetes-preserve-unknown-fields": true}}]`

// odd has a book whose shelf is a number: the book says so, and no shelf waits for it.
func (s *suite) odd(ctx context.Context) error {
	if _, err := kubectl(ctx, "patch", "crd", "books.library.xos-knative.dev", "--type=json", "-p", openShelf); err != nil {
		return err
	}
	odd := libraryModel("Book", "odd", map[string]any{"title": "An odd book", "shelf": 5})
	// The API takes it when it has seen the new definition.
	if err := until(ctx, "there is a book whose shelf is a number", func() error { return applyIn(ctx, library, shelf("empty"), odd) }); err != nil {
		return err
	}
	if err := until(ctx, "the book says what cannot be read", func() error {
		says, err := output(ctx, "", "kubectl", "get", "books/odd", "-n", library, "-o", "jsonpath={.status.sync.message}")
		if err != nil {
			return err
		}
		return expect(strings.HasPrefix(says, "spec.shelf.name: expected the name of a Shelf"), "it says %q", says)
	}); err != nil {
		return err
	}
	return kubectlAll(ctx,
		"delete -n library shelves/empty "+timeout,
		`patch -n library books/odd --type=merge -p {"spec":{"shelf":{"name":"tall"}}}`,
		"wait -n library --for=condition=Ready books/odd "+timeout,
		"delete -n library books/odd "+timeout)
}
