package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/model"
)

const sample = "config/samples/hello-world.yml"

// rest waits for the end of the pods that the installation started.
func (s *suite) rest(ctx context.Context) error {
	start := time.Now()
	if err := atRest(ctx); err != nil {
		return err
	}
	s.measured("all functions", "from Ready after the installation to zero pods", time.Since(start))
	_, err := kubectl(ctx, "get", "pods")
	return err
}

// greeted applies the tutorial's models while no policy listens, so that its
// two special guests live long enough to be looked at.
func (s *suite) greeted(ctx context.Context) error {
	if _, err := kubectl(ctx, "delete", "trigger", "policy"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "apply", "-f", sample); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Synced", "hws/helloworld", "hwsi/daenerys", "--timeout=60s"); err != nil {
		return err
	}
	i, err := instance(ctx, "daenerys")
	if err != nil {
		return err
	}
	if st := i.Status.Sync; st.State != model.StateOK || st.Code != model.CodeOK {
		return fmt.Errorf("daenerys: expected state OK and code 1, got %s and %d", st.State, st.Code)
	}
	const says = "Jhon Snow is saying hello to Daenerys Targaryen"
	if err := until(ctx, "the log of function sync says "+says, patience, func() error {
		log, err := output(ctx, "", "kubectl", "logs", "-n", namespace, "-l", "serving.knative.dev/service=sync", "-c", "user-container", "--tail=-1")
		if err != nil {
			return err
		}
		return expect(strings.Contains(log, says), "it does not")
	}); err != nil {
		return err
	}
	return s.greets(ctx, "Daenerys Targaryen", says)
}

// changed changes what the service says, then whom the instance greets.
func (s *suite) changed(ctx context.Context) error {
	if _, err := kubectl(ctx, "patch", "hws/helloworld", "--type=merge", "-p", `{"spec": {"helloFrom": "Arya Stark"}}`); err != nil {
		return err
	}
	if err := s.greets(ctx, "Daenerys Targaryen", "Arya Stark is saying hello to Daenerys Targaryen"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "patch", "hwsi/daenerys", "--type=merge", "-p", `{"spec": {"helloTo": "Sansa Stark"}}`); err != nil {
		return err
	}
	if err := s.greets(ctx, "Sansa Stark", "Arya Stark is saying hello to Sansa Stark"); err != nil {
		return err
	}
	return s.greets(ctx, "Daenerys Targaryen", "")
}

// deferred sees three attempts, always with the same wait in between.
func (s *suite) deferred(ctx context.Context) error {
	var next []time.Time
	return untilStep(ctx, "tyrion", model.StepSync, "three attempts, none of them an error", func(st *model.StepStatus) bool {
		if st.State != model.StateDeferred || st.Code != model.CodeInProgress || st.Failures != 0 || st.NextAttempt == nil {
			return false
		}
		if !slices.ContainsFunc(next, st.NextAttempt.Time.Equal) {
			next = append(next, st.NextAttempt.Time)
			fmt.Printf("    %s %d %q, next attempt at %s\n", st.State, st.Code, st.Message, st.NextAttempt.UTC().Format(time.TimeOnly))
		}
		return len(next) == 3
	})
}

// failing sees attempts with growing waits.
func (s *suite) failing(ctx context.Context) error {
	var failures int32
	var waits []time.Duration
	return untilStep(ctx, "joffrey", model.StepSync, "failed again, later and later", func(st *model.StepStatus) bool {
		if st.State != model.StateFailed || st.Code != model.CodeError || !strings.Contains(st.Message, "Maybe not") || st.NextAttempt == nil {
			return false
		}
		if st.Failures != failures {
			failures = st.Failures
			waits = append(waits, st.NextAttempt.Sub(lastFailure(st).Time))
			fmt.Printf("    %s %d %q, failure %d, next attempt after %s\n", st.State, st.Code, st.Message, failures, waits[len(waits)-1])
		}
		// Seconds are all that a status has, and waits have a jitter of some
		// percent: compare those that are far enough apart.
		return failures >= 4 && waits[len(waits)-1] >= 6*time.Second
	})
}

func lastFailure(st *model.StepStatus) metav1.Time {
	if st.LastFailure == nil {
		return metav1.Time{}
	}
	return *st.LastFailure
}

// policed brings the policy back, and shows it guests that come while it listens.
func (s *suite) policed(ctx context.Context) error {
	if _, err := s.koApply(ctx, "eventing"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Ready", "trigger/policy", "--timeout=60s"); err != nil {
		return err
	}
	for _, name := range []string{"tyrion", "joffrey"} {
		if err := gone(ctx, "helloworldserviceinstances", name); err != nil {
			return err
		}
	}
	if err := apply(ctx, newInstance("tyrion", "Tyrion Lannister", "helloworld"), newInstance("joffrey", "Joffrey Baratheon", "helloworld")); err != nil {
		return err
	}
	for _, name := range []string{"tyrion", "joffrey"} {
		if err := gone(ctx, "helloworldserviceinstances", name); err != nil {
			return err
		}
	}
	return s.untilConverged(ctx)
}

// undisturbed waits for rest and sees that nobody has touched the models.
func (s *suite) undisturbed(ctx context.Context) error {
	before, err := versions(ctx)
	if err != nil {
		return err
	}
	if err := atRest(ctx); err != nil {
		return err
	}
	after, err := versions(ctx)
	if err != nil {
		return err
	}
	return expect(before == after, "resource versions before:\n%s\nafter:\n%s", before, after)
}

func versions(ctx context.Context) (string, error) {
	return output(ctx, "", "kubectl", "get", "models", "-n", namespace,
		"-o", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
}

// deleted deletes a model while no function has a pod.
func (s *suite) deleted(ctx context.Context) error {
	i, err := instance(ctx, "daenerys")
	if err != nil {
		return err
	}
	if !isTrue(&i.Status, i.Generation, apis.ConditionReady) {
		return fmt.Errorf("daenerys is not Ready: %+v", i.Status)
	}
	// kubectl waits until the object is gone, and that is when delete_record has run.
	if _, err := kubectl(ctx, "delete", "hwsi/daenerys", "--timeout=60s"); err != nil {
		return err
	}
	return s.greets(ctx, "Sansa Stark", "")
}
