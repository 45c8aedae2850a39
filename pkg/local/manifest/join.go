package manifest

import (
	"errors"
	"fmt"
	"maps"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Join returns the resources of several sets as one Set. It checks what the objects say about each other, that no object
// is there twice, and that each can be run here. The error lists everything that is wrong. The sets stay as they are.
func Join(sets ...*Set) (*Set, error) {
	all := &Set{files: map[metav1.Object]string{}}
	for _, s := range sets {
		all.CRDs = append(all.CRDs, s.CRDs...)
		all.Namespaces = append(all.Namespaces, s.Namespaces...)
		all.Services = append(all.Services, s.Services...)
		all.Deployments = append(all.Deployments, s.Deployments...)
		all.CoreServices = append(all.CoreServices, s.CoreServices...)
		all.Claims = append(all.Claims, s.Claims...)
		all.ConfigMaps = append(all.ConfigMaps, s.ConfigMaps...)
		all.Brokers = append(all.Brokers, s.Brokers...)
		all.Triggers = append(all.Triggers, s.Triggers...)
		all.ContainerSources = append(all.ContainerSources, s.ContainerSources...)
		all.PingSources = append(all.PingSources, s.PingSources...)
		all.SinkBindings = append(all.SinkBindings, s.SinkBindings...)
		all.Inert = append(all.Inert, s.Inert...)
		all.Warnings = append(all.Warnings, s.Warnings...)
		all.objects = append(all.objects, s.objects...)
		maps.Copy(all.files, s.files)
	}
	errs := all.twice()
	if len(errs) == 0 {
		errs = all.refuse()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// twice finds objects of one kind, namespace and name: on a cluster the later file overwrites the earlier one.
func (s *Set) twice() (errs []error) {
	type key struct {
		kind reflect.Type
		name string
	}
	first := map[key]metav1.Object{}
	for _, o := range s.objects {
		k := key{reflect.TypeOf(o), name(o)}
		if other, ok := first[k]; ok {
			errs = append(errs, s.errorf(o, "metadata.name: %w", fmt.Errorf("%s has an object of this kind and name too", s.files[other])))
			continue
		}
		first[k] = o
	}
	return errs
}
