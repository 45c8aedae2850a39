package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1beta2 "knative.dev/eventing/pkg/apis/eventing/v1beta2"
	eventingv1beta3 "knative.dev/eventing/pkg/apis/eventing/v1beta3"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// Options say what to read.
type Options struct {
	// Dirs are read recursively: files that end in .yaml, except kustomizations and the folders samples and overlays.
	// A directory that does not exist has no files.
	Dirs []string

	// Without says what to leave out. Default: nothing.
	Without *Exclusions
}

// CRD is a definition, and its document as it stands in the file.
type CRD struct {
	Definition *apiextensionsv1.CustomResourceDefinition
	Document   []byte
}

// Set is the resources of one or more directories. Load makes one for a synchronizer, Join one for all that run.
type Set struct {
	CRDs []CRD

	// Namespaces are the names of the Namespaces in the files.
	Namespaces []string

	Services         []*servingv1.Service
	Deployments      []*appsv1.Deployment
	CoreServices     []*corev1.Service
	Claims           []*corev1.PersistentVolumeClaim
	ConfigMaps       []*corev1.ConfigMap
	Brokers          []*eventingv1.Broker
	Triggers         []*eventingv1.Trigger
	ContainerSources []*sourcesv1.ContainerSource
	PingSources      []*sourcesv1.PingSource
	SinkBindings     []*sourcesv1.SinkBinding

	// Inert names what is accepted although there is nothing to do for it here, as "Kind namespace/name".
	Inert []string

	// Warnings are what Knative's webhooks warn of.
	Warnings []string

	// objects are all of them in the order of the files, and files is where each is from, for messages.
	objects []metav1.Object
	files   map[metav1.Object]string
}

// leftOut are folders whose files are not meant to be applied together with the rest.
var leftOut = sets.New("samples", "overlays")

// inertKinds are decoded strictly and then forgotten.
var inertKinds = sets.New(
	"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
	"NetworkPolicy", "PodDisruptionBudget", "EventType",
)

// clusterKinds are in no namespace.
var clusterKinds = sets.New("Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")

// defaultNamespace is where kubectl puts what names no namespace.
const defaultNamespace = "default"

// decoder knows every kind that may stand in the files, and refuses fields that a kind does not have.
var decoder = newDecoder()

func newDecoder() runtime.Decoder {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, apiextensionsv1.AddToScheme, servingv1.AddToScheme,
		eventingv1.AddToScheme, eventingv1beta2.AddToScheme, eventingv1beta3.AddToScheme, sourcesv1.AddToScheme,
	} {
		// Fails only if two libraries register one kind: a mistake that no file can cause.
		utilruntime.Must(add(s))
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}

// Load reads all files, and defaults and validates each object by itself. The error lists everything that is wrong, not
// only the first of it. What objects say about each other is checked by Join.
func Load(o Options) (*Set, error) {
	documents, err := Read(o.Dirs...)
	return load(documents, err, o.Without)
}

// load is [Load] of documents that are read, with an error about the others.
func load(documents []Document, unread error, without *Exclusions) (*Set, error) {
	s := &Set{files: map[metav1.Object]string{}}
	var errs []error
	if unread != nil {
		errs = append(errs, unread)
	}
	for _, d := range documents {
		if err := s.take(d, without); err != nil {
			errs = append(errs, d.Errorf("%w", err))
		}
	}
	if len(errs) == 0 {
		errs = s.admit()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// find lists the YAML files below dirs in lexical order.
func find(dirs []string) ([]string, error) {
	var files []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if path == dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if d.IsDir() {
				if path != dir && leftOut.Has(d.Name()) {
					return fs.SkipDir
				}
				return nil
			}
			// As "ko apply -R" does, which leaves files that end in .yml alone.
			base, isYAML := strings.CutSuffix(d.Name(), ".yaml")
			if isYAML && !strings.EqualFold(base, "kustomization") {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("cannot read the resources: %w", err)
		}
	}
	return files, nil
}

// Object is what every resource is.
type Object interface {
	metav1.Object
	runtime.Object
}

// Document is a resource as it stands in a file.
type Document struct {
	File string
	// Number in the file, counted from 1.
	Number int
	// Raw is its text.
	Raw []byte
	// Object is of the Go type of its kind, decoded strictly, or an Unstructured if there is none here.
	Object Object
}

// Errorf puts the file and the number of the document before a message.
func (d Document) Errorf(format string, args ...any) error {
	return fmt.Errorf("%s: document %d: %w", d.File, d.Number, fmt.Errorf(format, args...))
}

// Read reads the YAML files in directories as [Options].Dirs says, in lexical order. It takes resources of any kind, and
// looks at each by itself only. What names no namespace is in "default". The error lists everything that is wrong.
func Read(dirs ...string) ([]Document, error) {
	files, err := find(dirs)
	if err != nil {
		return nil, err
	}
	var documents []Document
	var errs []error
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found, err := parse(file, content)
		documents, errs = append(documents, found...), append(errs, err)
	}
	return documents, errors.Join(errs...)
}

// parse reads the documents of a file.
func parse(file string, content []byte) (documents []Document, _ error) {
	var errs []error
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 1; ; n++ {
		d := Document{File: file, Number: n}
		raw, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, errors.Join(errs...)
		}
		if err != nil {
			return nil, d.Errorf("%w", err)
		}
		if blank(raw) {
			continue
		}
		d.Raw = bytes.Clone(raw)
		if d.Object, err = decode(d.Raw); err != nil {
			errs = append(errs, d.Errorf("%w", err))
			continue
		}
		documents = append(documents, d)
	}
}

// blank reports whether a document holds nothing but comments.
func blank(doc []byte) bool {
	var v any
	return yaml.Unmarshal(doc, &v) == nil && v == nil
}

func decode(doc []byte) (Object, error) {
	obj, gvk, err := decoder.Decode(doc, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		u := &unstructured.Unstructured{}
		err = yaml.Unmarshal(doc, &u.Object)
		obj, gvk = u, ptr.To(u.GroupVersionKind())
	}
	if err != nil {
		return nil, err
	}
	o, ok := obj.(Object)
	if !ok {
		return nil, refusedKind(*gvk)
	}
	if o.GetNamespace() == "" && !clusterKinds.Has(gvk.Kind) {
		o.SetNamespace(defaultNamespace)
	}
	return o, nil
}

// take puts an object to those of its kind.
func (s *Set) take(d Document, without *Exclusions) error {
	gvk := d.Object.GetObjectKind().GroupVersionKind()
	if without.matches(gvk.Kind, d.Object) {
		return nil
	}
	s.objects = append(s.objects, d.Object)
	s.files[d.Object] = d.File
	switch o := d.Object.(type) {
	case *apiextensionsv1.CustomResourceDefinition:
		s.CRDs = append(s.CRDs, CRD{Definition: o, Document: d.Raw})
	case *servingv1.Service:
		s.Services = append(s.Services, o)
	case *appsv1.Deployment:
		s.Deployments = append(s.Deployments, o)
	case *corev1.Service:
		s.CoreServices = append(s.CoreServices, o)
	case *corev1.PersistentVolumeClaim:
		s.Claims = append(s.Claims, o)
	case *corev1.ConfigMap:
		s.ConfigMaps = append(s.ConfigMaps, o)
	case *eventingv1.Broker:
		s.Brokers = append(s.Brokers, o)
	case *eventingv1.Trigger:
		s.Triggers = append(s.Triggers, o)
	case *sourcesv1.ContainerSource:
		s.ContainerSources = append(s.ContainerSources, o)
	case *sourcesv1.PingSource:
		s.PingSources = append(s.PingSources, o)
	case *sourcesv1.SinkBinding:
		s.SinkBindings = append(s.SinkBindings, o)
	default:
		if !inertKinds.Has(gvk.Kind) {
			return refusedKind(gvk)
		}
		s.Inert = append(s.Inert, gvk.Kind+" "+name(o))
		if gvk.Kind == "Namespace" {
			s.Namespaces = append(s.Namespaces, o.GetName())
		}
	}
	return nil
}

// refusedKind is the answer to a resource that would do nothing here but something on a cluster.
func refusedKind(gvk schema.GroupVersionKind) error {
	return fmt.Errorf("%s of %s: the local runner has nothing that acts on this kind", gvk.Kind, gvk.GroupVersion())
}

// name is how messages call an object.
func name(m metav1.Object) string {
	if m.GetNamespace() == "" {
		return m.GetName()
	}
	return m.GetNamespace() + "/" + m.GetName()
}
