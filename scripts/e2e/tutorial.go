package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"knative.dev/pkg/apis"

	"github.com/xos-knative/synchronizer/pkg/model"
	"github.com/xos-knative/synchronizer/pkg/step"
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
	if _, err := kubectl(ctx, "delete", "trigger", "helloworld-policy", "-n", system); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "apply", "-f", sample); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Synced", "hws/helloworld", "hwsi/daenerys", timeout); err != nil {
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
	if err := until(ctx, "the log of function sync says "+says, func() error {
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

// retried sees three attempts for one guest, always with the same wait in
// between, and meanwhile two for the other with growing waits.
func (s *suite) retried(ctx context.Context) error {
	var deferred, failed []attempt
	return until(ctx, "tyrion was deferred three times, joffrey failed again, later and later", func() error {
		tyrion, err := instance(ctx, "tyrion")
		if err != nil {
			return err
		}
		joffrey, err := instance(ctx, "joffrey")
		if err != nil {
			return err
		}
		deferred = observe(deferred, tyrion.Name, tyrion.Status.Sync)
		failed = observe(failed, joffrey.Name, joffrey.Status.Sync)
		for _, a := range deferred {
			if a.State != model.StateDeferred || a.Code != model.CodeInProgress || a.Failures != 0 {
				return fmt.Errorf("tyrion: expected Deferred, 0 and no failures, got %+v", a.StepStatus)
			}
		}
		for i, a := range failed {
			if a.State != model.StateFailed || a.Code != model.CodeError || a.Message != "Maybe not" || a.Failures < 1 {
				return fmt.Errorf("joffrey: expected Failed, 2, Maybe not and a count of failures, got %+v", a.StepStatus)
			}
			// Attempts may be missed between two looks, so each is held against
			// its own wait: doubled with every failure, at most a tenth of jitter,
			// and both ends of it stored as whole seconds.
			shortest := min(step.FailedMax, step.FailedInterval<<(a.Failures-1))
			if longest := shortest + shortest/10 + 2*time.Second; a.wait < shortest || a.wait > longest {
				return fmt.Errorf("joffrey: expected a wait of %s to %s after failure %d, got %s", shortest, longest, a.Failures, a.wait)
			}
			if i > 0 && a.Failures <= failed[i-1].Failures {
				return fmt.Errorf("joffrey: expected more failures than %d, got %d", failed[i-1].Failures, a.Failures)
			}
		}
		return expect(len(deferred) >= 3 && len(failed) >= 2 && failed[len(failed)-1].Failures >= 4, "%d and %d attempts", len(deferred), len(failed))
	})
}

// attempt is what a step wrote about one attempt, and how long it wants to wait.
type attempt struct {
	model.StepStatus
	wait time.Duration
}

// observe adds an attempt that was not seen before.
func observe(seen []attempt, name string, st *model.StepStatus) []attempt {
	if st == nil || st.NextAttempt == nil || len(seen) > 0 && seen[len(seen)-1].NextAttempt.Equal(st.NextAttempt) {
		return seen
	}
	a := attempt{StepStatus: *st}
	if st.LastFailure != nil {
		a.wait = st.NextAttempt.Sub(st.LastFailure.Time)
	}
	fmt.Printf("    %s: %s %d %q, failures %d, next attempt at %s\n", name, st.State, st.Code, st.Message, st.Failures, st.NextAttempt.UTC().Format(time.TimeOnly))
	return append(seen, a)
}

// policed brings the policy back, and makes guests that it sees from the beginning.
func (s *suite) policed(ctx context.Context) error {
	if err := s.koApply(ctx, "eventing/helloworld"); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "-n", system, "--for=condition=Ready", "trigger/helloworld-policy", timeout); err != nil {
		return err
	}
	// An event that no Trigger took is sent again after minutes. A new source sends it at once.
	if err := kill(ctx, system, sourcePods); err != nil {
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

// woken applies a model while no function has a pod.
func (s *suite) woken(ctx context.Context) error {
	start := time.Now()
	if err := apply(ctx, newInstance("woken", "Gilly", "helloworld")); err != nil {
		return err
	}
	if _, err := kubectl(ctx, "wait", "--for=condition=Ready", "hwsi/woken", timeout); err != nil {
		return err
	}
	s.measured("a model", "from kubectl apply until Ready, all functions at zero before", time.Since(start))
	awake, err := running(ctx)
	if err != nil {
		return err
	}
	// Function pull has its own clock, which may tick just now.
	awake = slices.DeleteFunc(awake, func(program string) bool { return program == "pull" })
	if want := []string{"greeter", "modelsource", "policy", "sync"}; !slices.Equal(awake, want) {
		return fmt.Errorf("expected pods of %v, got %v", want, awake)
	}
	_, err = kubectl(ctx, "delete", "hwsi/woken", timeout)
	return err
}

// deleted deletes a model, and then what it depended on.
func (s *suite) deleted(ctx context.Context) error {
	i, err := instance(ctx, "daenerys")
	if err != nil {
		return err
	}
	if !isTrue(&i.Status, i.Generation, apis.ConditionReady) {
		return fmt.Errorf("daenerys is not Ready: %+v", i.Status)
	}
	// kubectl waits until the object is gone, and that is when delete_record has run.
	if _, err := kubectl(ctx, "delete", "hwsi/daenerys", timeout); err != nil {
		return err
	}
	if err := s.greets(ctx, "Sansa Stark", ""); err != nil {
		return err
	}
	_, err = kubectl(ctx, "delete", "hws/helloworld", timeout)
	return err
}
