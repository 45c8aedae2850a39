package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// category has all models: `kubectl get models`.
const category = "models"

// selection is which objects a command is about, as for kubectl.
type selection struct {
	flags         *genericclioptions.ConfigFlags
	selector      string
	allNamespaces bool
}

func (s *selection) addFlags(c *cobra.Command) {
	c.ValidArgsFunction = s.complete
	c.Flags().StringVarP(&s.selector, "selector", "l", "", "only objects with these labels")
	c.Flags().BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "objects of all namespaces")
}

// selected is one object, and its kind.
type selected struct {
	kind *model.Kind
	live *unstructured.Unstructured
}

// String names the object as kubectl does.
func (o selected) String() string {
	return fmt.Sprintf("%s.%s/%s", o.kind.Resource, o.kind.GVK.Group, o.live.GetName())
}

// each calls fn for each object that the arguments name: KIND/NAME, KIND NAME, or KIND for all of it. An error of one
// does not keep the others from being done.
func (s *selection) each(ctx context.Context, args []string, fn func(*model.Client, selected) error) error {
	config, err := s.flags.ToRESTConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 300 // As kubectl does.
	client, err := model.NewClient(config)
	if err != nil {
		return err
	}
	namespace, _, err := s.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	infos, err := resource.NewBuilder(s.flags).Unstructured().
		NamespaceParam(namespace).DefaultNamespace().AllNamespaces(s.allNamespaces).
		LabelSelectorParam(s.selector).ResourceTypeOrNameArgs(true, args...).
		ContinueOnError().Flatten().Do().Infos()
	var errs []error
	if err != nil {
		errs = append(errs, fmt.Errorf("%s in namespace %s: %w", strings.Join(args, " "), namespace, err))
	}
	for _, info := range infos {
		kind, err := client.Kind(ctx, info.Mapping.GroupVersionKind.GroupKind())
		live, ok := info.Object.(*unstructured.Unstructured)
		if err == nil && (!ok || live.GroupVersionKind() != kind.GVK) {
			live, err = client.Live(ctx, kind, info.Namespace, info.Name) // In the version that the steps are asked about.
		}
		if err == nil {
			err = fn(client, selected{kind, live})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", info.Mapping.Resource.GroupResource(), info.Name, err))
		}
	}
	return errors.Join(errs...)
}
