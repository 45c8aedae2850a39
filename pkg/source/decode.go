package source

import (
	"bytes"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	kjson "sigs.k8s.io/json"
)

// newLean makes a client that watches with the serializer lean. It lists as others do: only old API servers are
// asked for lists.
func newLean(config *rest.Config, client *http.Client) (dynamic.Interface, error) {
	config = dynamic.ConfigFor(config)
	config.NegotiatedSerializer, config.AcceptContentTypes = lean{config.NegotiatedSerializer}, runtime.ContentTypeJSON
	config.GroupVersion = nil
	r, err := rest.UnversionedRESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return dynamic.New(r), nil
}

// lean is the serializer of a client that watches models: of an object it decodes only what [model.Kind.SnapshotOf]
// reads. The rest (managed fields, most of the spec, what steps report) is more than half of it.
type lean struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements [runtime.NegotiatedSerializer].
func (l lean) SupportedMediaTypes() []runtime.SerializerInfo {
	for _, info := range l.NegotiatedSerializer.SupportedMediaTypes() {
		if info.MediaType == runtime.ContentTypeJSON {
			stream := *info.StreamSerializer
			stream.Serializer = frames{stream.Serializer}
			info.Serializer, info.StreamSerializer = objects{info.Serializer}, &stream
			return []runtime.SerializerInfo{info}
		}
	}
	return nil
}

// frames decodes what stands around each object of a watch.
type frames struct{ runtime.Serializer }

// Decode implements [runtime.Decoder]. It finds the object without a look at what is in it, if it is written as API
// servers write it.
func (f frames) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	event, ok := into.(*metav1.WatchEvent)
	kind, rest, isType := bytes.Cut(bytes.TrimPrefix(data, []byte(`{"type":"`)), []byte(`","object":`))
	object, isObject := bytes.CutSuffix(bytes.TrimSpace(rest), []byte("}"))
	if !ok || !isType || !isObject || len(kind) > len("BOOKMARK") || bytes.ContainsAny(kind, `"\`) {
		return f.Serializer.Decode(data, gvk, into)
	}
	event.Type, event.Object.Raw = string(kind), object
	return event, gvk, nil
}

// objects decodes an object.
type objects struct{ runtime.Serializer }

// pieces are what is decoded of an object. The fields have any type, so that SnapshotOf says what is wrong with them.
type pieces struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name              any `json:"name"`
		Namespace         any `json:"namespace"`
		UID               any `json:"uid"`
		ResourceVersion   any `json:"resourceVersion"`
		Generation        any `json:"generation"`
		DeletionTimestamp any `json:"deletionTimestamp"`
		Finalizers        any `json:"finalizers"`
		Annotations       any `json:"annotations"`
	} `json:"metadata"`
	Spec   any `json:"spec"`
	Status struct {
		Conditions         any `json:"conditions"`
		ObservedGeneration any `json:"observedGeneration"`
		ObservedRevision   any `json:"observedRevision"`
		Sync               any `json:"sync"`
		Policy             any `json:"policy"`
	} `json:"status"`
}

// Decode implements [runtime.Decoder].
func (o objects) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	var p pieces
	if into != nil || kjson.UnmarshalCaseSensitivePreserveInts(data, &p) != nil || p.Kind == "" || p.APIVersion == "v1" {
		return o.Serializer.Decode(data, gvk, into) // Also the errors of the API server.
	}
	m, s := &p.Metadata, &p.Status
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": p.APIVersion, "kind": p.Kind,
		"metadata": map[string]any{"name": m.Name, "namespace": m.Namespace, "uid": m.UID, "resourceVersion": m.ResourceVersion, "generation": m.Generation,
			"deletionTimestamp": m.DeletionTimestamp, "finalizers": m.Finalizers, "annotations": m.Annotations},
		"spec": p.Spec,
		"status": map[string]any{"conditions": s.Conditions, "observedGeneration": s.ObservedGeneration, "observedRevision": s.ObservedRevision,
			"sync": s.Sync, "policy": s.Policy},
	}}
	is := u.GroupVersionKind()
	return u, &is, nil
}
