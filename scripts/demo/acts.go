package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	corev1alpha1 "github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// declare applies the sample models and waits until the steps have done their
// work: one guest is greeted, the policy has deleted the two unwelcome ones.
func (s *stage) declare(ctx context.Context) error {
	if err := s.apply(ctx, "config/samples/hello-world.yml"); err != nil {
		return err
	}
	err := s.until(ctx, "daenerys is Ready, tyrion and joffrey are gone", func() (bool, error) {
		ready, err := s.ready(ctx, "helloworldserviceinstances", "daenerys")
		if err != nil || !ready {
			return false, err
		}
		names, err := s.names(ctx, "helloworldserviceinstances")
		return len(names) == 1, err
	})
	if err != nil {
		return err
	}
	if err := s.table(ctx); err != nil {
		return err
	}
	return s.greets(ctx, "Jhon Snow is saying hello to Daenerys Targaryen")
}

// rename changes the service; its instance has to follow.
func (s *stage) rename(ctx context.Context) error {
	if err := s.patch(ctx, "helloworldservices", "helloworld", `{"spec":{"helloFrom":"Arya Stark"}}`); err != nil {
		return err
	}
	return s.greets(ctx, "Arya Stark is saying hello to Daenerys Targaryen")
}

// rest waits until all functions are back at zero.
func (s *stage) rest(ctx context.Context) error {
	return s.until(ctx, "no function process runs", func() (bool, error) {
		for _, p := range s.system.Programs() {
			if p.Function && p.Running() {
				return false, nil
			}
		}
		return true, nil
	})
}

// event publishes as the micro-service would: the guest becomes a model and is greeted.
func (s *stage) event(ctx context.Context) error {
	if err := s.publish(ctx, `{"name": "Guest", "hello_to": "Sansa Stark"}`); err != nil {
		return err
	}
	return s.greets(ctx, "Arya Stark is saying hello to Daenerys Targaryen", "Arya Stark is saying hello to Sansa Stark")
}

// pull lets the greeter have a greeting of its own, which becomes a model that is never synced.
func (s *stage) pull(ctx context.Context) error {
	err := s.curl(ctx, http.MethodPut, "http://greeter.helloworld.svc.cluster.local/greetings/pulled",
		http.Header{"Content-Type": {"application/json"}}, `{"name": "Pulled Record", "hello_to": "Dude"}`, "Pulled Record")
	if err != nil {
		return err
	}
	err = s.curl(ctx, http.MethodPost, "http://pull.helloworld.svc.cluster.local/", http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/demo"}, "Ce-Type": {"dev.knative.sources.ping"},
	}, "", `"created":1`)
	if err != nil {
		return err
	}
	err = s.until(ctx, "the pulled record is an instance without sync", func() (bool, error) {
		list, err := s.resource("helloworldserviceinstances").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool {
			to, _, _ := unstructured.NestedString(u.Object, "spec", "helloTo")
			return to == "Dude" && u.GetAnnotations()[model.AnnotationNoSync] == "true"
		}), nil
	})
	if err != nil {
		return err
	}
	return s.table(ctx)
}

// deadLetter publishes an event that nobody can handle, finds it as a dead
// letter, corrects it and has it sent again.
func (s *stage) deadLetter(ctx context.Context) error {
	if err := s.publish(ctx, `{"name": "Broken", "helo_to": "Bran Stark"}`); err != nil {
		return err
	}
	letters := s.models.Resource(corev1alpha1.GroupVersion.WithResource("deadletters")).Namespace(namespace)
	name := ""
	err := s.until(ctx, "the event is a dead letter", func() (bool, error) {
		list, err := letters.List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return false, err
		}
		name = list.Items[0].GetName()
		return true, nil
	})
	if err != nil {
		return err
	}
	command("kubectl get deadletters -n %s", namespace)
	if err := printTable(ctx, s.system.Config(), corev1alpha1.GroupVersion, "deadletters"); err != nil {
		return err
	}
	patch := `{"spec":{"event":{"data":{"name":"Corrected","helo_to":null,"hello_to":"Bran Stark"}},"replay":true}}`
	command("kubectl patch deadletter %s --type merge -p '%s'", name, patch)
	if _, err := letters.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	err = s.until(ctx, "the dead letter is gone", func() (bool, error) {
		list, err := letters.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
	if err != nil {
		return err
	}
	return s.greets(ctx, "Arya Stark is saying hello to Daenerys Targaryen", "Arya Stark is saying hello to Sansa Stark",
		"Arya Stark is saying hello to Bran Stark", "The greeter is saying hello to Dude")
}

// recipe uploads what was written for XOS, and takes it back.
func (s *stage) recipe(ctx context.Context) error {
	recipe, err := os.ReadFile(filepath.Join(s.root, "config/samples/tosca/hello-world.yml"))
	if err != nil {
		return err
	}
	tosca := s.system.FunctionURL(core, "tosca")
	header := http.Header{"Authorization": {"Bearer " + s.system.Config().BearerToken}}
	if err := s.curl(ctx, http.MethodPost, tosca+"/run?namespace="+namespace+"&wait=3m", header, string(recipe), "Created models: ['constraints', 'service', 'serviceinstance']"); err != nil {
		return err
	}
	if err := s.greets(ctx, "Jhon Snow is saying hello to Daenerys Targaryen"); err != nil {
		return err
	}
	if err := s.curl(ctx, http.MethodPost, tosca+"/delete?namespace="+namespace+"&wait=3m", header, string(recipe), "Deleted models: ['serviceinstance', 'service', 'constraints']"); err != nil {
		return err
	}
	return s.greets(ctx)
}

// remove deletes the models; the greeter has to forget them.
func (s *stage) remove(ctx context.Context) error {
	for _, resource := range []string{"helloworldservices", "helloworldserviceinstances"} {
		if err := s.deleteAll(ctx, resource); err != nil {
			return err
		}
	}
	err := s.until(ctx, "no model is left", func() (bool, error) {
		services, err := s.names(ctx, "helloworldservices")
		if err != nil {
			return false, err
		}
		instances, err := s.names(ctx, "helloworldserviceinstances")
		return len(services)+len(instances) == 0, err
	})
	if err != nil {
		return err
	}
	if err := s.greeter.Delete(ctx, "pulled", 0); err != nil { // It is the greeter's own.
		return err
	}
	return s.greets(ctx)
}
