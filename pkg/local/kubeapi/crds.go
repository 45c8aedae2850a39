package kubeapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// fieldManager owns the fields of the CRDs that are applied here.
const fieldManager = "local-runner"

// crdTimeout bounds the wait for a CRD to be accepted and served. It takes some 100 ms; a CRD with a conflict in its
// names is never established.
const crdTimeout = time.Minute

// listTimeout bounds each look at the resources of a CRD: the API did once not answer for half a minute for resources that
// it was just beginning to serve. It is asked again then.
const listTimeout = 5 * time.Second

// ApplyCRDs applies the CustomResourceDefinitions in YAML files or directories of them (server-side apply, taking over
// fields from others), and returns when their resources are served. An error names the file or the CRD.
func (s *Server) ApplyCRDs(ctx context.Context, paths ...string) error {
	docs, err := readCRDs(paths)
	if err != nil {
		return err
	}
	return s.ApplyCRDDocuments(ctx, docs...)
}

// readCRDs reads the definitions in files or directories.
func readCRDs(paths []string) (docs [][]byte, err error) {
	for _, path := range paths {
		files, err := yamlFiles(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			found, err := crdDocuments(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			docs = append(docs, found...)
		}
	}
	return docs, nil
}

// ApplyCRDDocuments is ApplyCRDs for YAML or JSON documents, each with one CustomResourceDefinition.
//
// A definition that is being deleted stays until its objects have lost their finalizers. It is served until then, so that
// whoever holds them can clean up, and is applied again when it is gone.
func (s *Server) ApplyCRDDocuments(ctx context.Context, docs ...[]byte) error {
	client, err := apiextensionsclient.NewForConfig(s.Config())
	if err != nil {
		return fmt.Errorf("cannot make a client for CRDs: %w", err)
	}
	crds := client.CustomResourceDefinitions()

	var names []string
	for _, doc := range docs {
		meta := &metav1.PartialObjectMetadata{}
		if err := yaml.Unmarshal(doc, meta); err != nil {
			return fmt.Errorf("cannot read a CRD: %w", err)
		}
		opts := metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true), FieldValidation: metav1.FieldValidationStrict}
		crd, err := crds.Patch(ctx, meta.Name, types.ApplyYAMLPatchType, doc, opts)
		if err != nil {
			return fmt.Errorf("the API refuses CRD %s: %w", meta.Name, err)
		}
		s.again.drop(meta.Name)
		if crd.DeletionTimestamp != nil {
			s.again.add(meta.Name, func(ctx context.Context) { s.applyAgain(ctx, crds, crd, doc) })
		}
		names = append(names, meta.Name)
	}
	for _, name := range names {
		if err := s.waitServed(ctx, crds, name); err != nil {
			return err
		}
	}
	return nil
}

// applyAgain applies a document when the CRD that is being deleted is gone. Somebody else may be the first to do so.
func (s *Server) applyAgain(ctx context.Context, crds apiextensionsclient.CustomResourceDefinitionInterface, deleted *apiextensionsv1.CustomResourceDefinition, doc []byte) {
	_ = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		live, err := crds.Get(ctx, deleted.Name, metav1.GetOptions{})
		if err == nil {
			return live.UID != deleted.UID, nil
		}
		if !apierrors.IsNotFound(err) {
			return false, nil
		}
		if _, err := crds.Patch(ctx, deleted.Name, types.ApplyYAMLPatchType, doc, metav1.PatchOptions{FieldManager: fieldManager, Force: ptr.To(true)}); err != nil {
			klog.ErrorS(err, "Cannot apply a definition again", "name", deleted.Name)
			return false, nil
		}
		return true, nil
	})
}

// again has what waits for a definition to be gone, by the definition's name.
type again struct {
	life context.Context // ends when the API does
	wg   sync.WaitGroup

	mu      sync.Mutex // protects waiting
	waiting map[string]context.CancelFunc
}

func (a *again) add(name string, f func(ctx context.Context)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithCancel(a.life)
	a.waiting[name] = cancel
	a.wg.Go(func() { f(ctx) })
}

// drop ends what waits for a definition.
func (a *again) drop(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel, ok := a.waiting[name]; ok {
		cancel()
		delete(a.waiting, name)
	}
}

// waitServed returns when CRD name is Established and its resources can be listed. The API's handlers learn of an
// established CRD a moment after its condition says so.
func (s *Server) waitServed(ctx context.Context, crds apiextensionsclient.CustomResourceDefinitionInterface, name string) error {
	resources, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		return fmt.Errorf("cannot make a dynamic client: %w", err)
	}
	reason := "it has no condition Established yet"
	err = wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, crdTimeout, true, func(ctx context.Context) (bool, error) {
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range crd.Status.Conditions {
			if c.Status == apiextensionsv1.ConditionFalse {
				reason = fmt.Sprintf("%s: %s", c.Type, c.Message)
			}
		}
		if !apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
			return false, nil
		}
		for _, gvr := range served(crd) {
			if err := canList(ctx, resources, gvr); err != nil {
				reason = err.Error()
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("CRD %s is not served: %s (%w)", name, reason, err)
	}
	return nil
}

// DeleteCRDs deletes CustomResourceDefinitions with their objects, and returns when they are gone and their resources are
// not served any more. Objects with a finalizer keep their definition until the finalizer is gone. A definition that does
// not exist is no error.
func (s *Server) DeleteCRDs(ctx context.Context, names ...string) error {
	client, err := apiextensionsclient.NewForConfig(s.Config())
	if err != nil {
		return fmt.Errorf("cannot make a client for CRDs: %w", err)
	}
	crds := client.CustomResourceDefinitions()
	var deleted []*apiextensionsv1.CustomResourceDefinition
	for _, name := range names {
		s.again.drop(name)
		crd, err := crds.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			deleted = append(deleted, crd)
			err = crds.Delete(ctx, name, metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cannot delete CRD %s: %w", name, err)
		}
	}
	for _, crd := range deleted {
		if err := s.waitGone(ctx, crds, crd); err != nil {
			return err
		}
	}
	return nil
}

// waitGone returns when a CRD is gone and none of its resources can be listed.
func (s *Server) waitGone(ctx context.Context, crds apiextensionsclient.CustomResourceDefinitionInterface, crd *apiextensionsv1.CustomResourceDefinition) error {
	resources, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		return fmt.Errorf("cannot make a dynamic client: %w", err)
	}
	reason := "it is being deleted"
	err = wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, crdTimeout, true, func(ctx context.Context) (bool, error) {
		live, err := crds.Get(ctx, crd.Name, metav1.GetOptions{})
		if err == nil {
			if c := apihelpers.FindCRDCondition(live, apiextensionsv1.Terminating); c != nil {
				reason = c.Message
			}
			return false, nil
		}
		if !apierrors.IsNotFound(err) {
			return false, err
		}
		for _, gvr := range served(crd) {
			if err := canList(ctx, resources, gvr); !apierrors.IsNotFound(err) {
				reason = "its resources are still served"
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("CRD %s is not gone: %s (%w)", crd.Name, reason, err)
	}
	return nil
}

// served are the resources that a CRD serves, one for each version.
func served(crd *apiextensionsv1.CustomResourceDefinition) (all []schema.GroupVersionResource) {
	for _, v := range crd.Spec.Versions {
		if v.Served {
			all = append(all, schema.GroupVersionResource{Group: crd.Spec.Group, Version: v.Name, Resource: crd.Spec.Names.Plural})
		}
	}
	return all
}

// canList is nil if a resource is served.
func canList(ctx context.Context, resources dynamic.Interface, gvr schema.GroupVersionResource) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	_, err := resources.Resource(gvr).List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

// yamlFiles is path itself, or all YAML files below it in lexical order.
func yamlFiles(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ext := filepath.Ext(p)
		if !d.IsDir() && (p == path || ext == ".yaml" || ext == ".yml") {
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read CRDs: %w", err)
	}
	return files, nil
}

// crdDocuments are the documents of a file that hold a CustomResourceDefinition.
func crdDocuments(file string) ([][]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var docs [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		meta := &metav1.TypeMeta{}
		if err := yaml.Unmarshal(doc, meta); err != nil {
			return nil, err
		}
		if meta.Kind == "CustomResourceDefinition" {
			docs = append(docs, bytes.Clone(doc))
		}
	}
}
