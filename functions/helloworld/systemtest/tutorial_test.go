package systemtest

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// TestTutorial walks through the tutorial of XOS.
func TestTutorial(t *testing.T) {
	dir := t.TempDir()
	t.Run("without policies", func(t *testing.T) {
		w := start(t, local.Options{Dir: dir, Without: []string{"trigger/helloworld-policy"}})
		w.service("helloworld", "Jhon Snow")
		w.greeted()
		w.unwelcome()

		// Deleted: the greeting is taken back, then the object is gone.
		if err := w.instances.Delete(t.Context(), w.get("daenerys")); err != nil {
			t.Fatal(err)
		}
		w.greets()
		w.Until("daenerys is gone", func() bool { return w.get("daenerys") == nil })
	})

	// The same data, with the policies loaded: the unwelcome guests go by themselves.
	t.Run("with policies", func(t *testing.T) {
		w := start(t, local.Options{Dir: dir})
		w.Until("tyrion and joffrey are gone", func() bool { return w.get("tyrion") == nil && w.get("joffrey") == nil })
		w.instance("sansa", "Sansa Stark", "helloworld")
		w.untilReady("sansa")
		w.greets(message("Arya Stark", "Sansa Stark"))

		// On an update, too.
		w.instance("sansa", "Joffrey Baratheon", "helloworld")
		w.Until("sansa is gone", func() bool { return w.get("sansa") == nil })
		w.greets()
	})
}

// greeted: daenerys is synced when she is new and when she or her service changes, and otherwise not.
func (w *world) greeted() {
	w.instance("daenerys", "Daenerys Targaryen", "helloworld")
	w.greets(message("Jhon Snow", "Daenerys Targaryen"))
	w.Until("daenerys is OK, with the code of XOS", func() bool {
		s := w.sync("daenerys")
		return s.State == model.StateOK && s.Code == model.CodeOK && s.Message == "OK" && s.Handle != ""
	})
	before := w.Requests()
	w.UntilIdle()
	if after := w.Requests(); after != before {
		w.Errorf("%d requests reached functions although nothing had changed", after-before)
	}
	w.instance("daenerys", "Daenerys Stormborn", "helloworld")
	w.greets(message("Jhon Snow", "Daenerys Stormborn"))
	w.service("helloworld", "Arya Stark")
	w.greets(message("Arya Stark", "Daenerys Stormborn"))
}

// unwelcome: tyrion is deferred, again and again, at a constant interval. Joffrey fails, and is tried again with growing
// waits.
func (w *world) unwelcome() {
	w.instance("joffrey", "Joffrey Baratheon", "helloworld")
	w.instance("tyrion", "Tyrion Lannister", "helloworld")
	var first model.StepStatus
	w.Until("tyrion is deferred", func() bool { first = w.sync("tyrion"); return first.State == model.StateDeferred })
	w.Until("tyrion is deferred again", func() bool {
		s := w.sync("tyrion")
		return s.State == model.StateDeferred && s.NextAttempt.After(first.NextAttempt.Time)
	})
	if s := w.sync("tyrion"); s.Code != model.CodeInProgress || s.Message != "Maybe later" || s.Failures != 0 {
		w.Errorf("tyrion: expected code 0, Maybe later, no failures, got %+v", s)
	}

	waits := map[int32]time.Duration{}
	w.Until("joffrey has failed four times", func() bool {
		s := w.sync("joffrey")
		if s.State == model.StateFailed {
			waits[s.Failures] = s.NextAttempt.Sub(s.LastFailure.Time)
		}
		return s.Failures >= 4
	})
	if s := w.sync("joffrey"); s.Code != model.CodeError || s.Message != "Maybe not" {
		w.Errorf("joffrey: expected code 2, Maybe not, got %+v", s)
	}
	if waits[4] < 8*time.Second || waits[1] > 3*time.Second && waits[1] != 0 {
		w.Errorf("joffrey: expected waits of about 1, 2, 4 and 8 s, got %v", waits)
	}
}

// TestNothingDue counts what reaches functions while nothing is due.
func TestNothingDue(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")
	for _, name := range []string{"a", "b", "c"} {
		w.instance(name, "Guest "+name, "helloworld")
	}
	w.instance("orphan", "Guest", "missing")
	for _, name := range []string{"a", "b", "c"} {
		w.untilReady(name)
	}
	w.Until("orphan waits", func() bool { return w.sync("orphan").State == model.StateWaiting })
	w.UntilIdle()
	before := w.Requests()

	// Writes that change no spec, and a source that starts again.
	for _, name := range []string{"a", "b", "c"} {
		i := w.get(name)
		i.Labels = labels.Set{"seen": "yes"}
		if _, _, err := w.instances.Update(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	starts := w.System.Program(core, "modelsource").Starts
	if !w.System.Kill(core, "modelsource") {
		t.Fatal("no model source runs")
	}
	w.Until("the model source is back", func() bool {
		p := w.System.Program(core, "modelsource")
		return p.Starts > starts && p.Running()
	})

	// What is due now is seen after all of that; nothing else may have been.
	w.service("other", "Somebody")
	w.Until("other is synced", func() bool {
		s, err := w.services.Get(t.Context(), namespace, "other")
		return err == nil && s.Status.Sync != nil && s.Status.Sync.State == model.StateOK
	})
	w.UntilIdle()
	if n := w.Requests() - before; n != 1 {
		t.Errorf("expected one request, for the one object that was due, got %d", n)
	}
}

// TestAnswers sends events by hand.
func TestAnswers(t *testing.T) {
	w := start(t, local.Options{})
	w.service("helloworld", "Jhon Snow")
	w.instance("a", "Guest", "helloworld")
	w.untilReady("a")
	version := w.get("a").ResourceVersion

	without := func(header string) map[string]string {
		h := modelEvent()
		delete(h, header)
		return h
	}
	for name, c := range map[string]struct {
		reason string
		header map[string]string
		body   string
		code   int
		says   string
	}{
		"NotDue":      {"What is not due is answered 200 without a body", modelEvent(), reference("HelloWorldServiceInstance", "a"), 200, ""},
		"Gone":        {"An object that is not there is not due", modelEvent(), reference("HelloWorldServiceInstance", "nobody"), 200, ""},
		"NoType":      {"A CloudEvent must have a type", without("Ce-Type"), reference("HelloWorldServiceInstance", "a"), 400, "type"},
		"NoEvent":     {"A request without the headers is no CloudEvent", nil, "{}", 400, "not a CloudEvent"},
		"UnknownKind": {"A kind without a step here can never be handled", modelEvent(), reference("Dragon", "drogon"), 422, "Dragon"},
		"BadName":     {"A name must not become another path", modelEvent(), reference("HelloWorldServiceInstance", "../x"), 422, "data.name"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body := w.post("sync", c.body, c.header)
			if code != c.code || !strings.Contains(body, c.says) || c.code == 200 && body != "" {
				t.Errorf("%s: expected %d with %q, got %d: %s", c.reason, c.code, c.says, code, body)
			}
		})
	}
	if now := w.get("a").ResourceVersion; now != version {
		t.Errorf("an event for something not due changed the object from version %s to %s", version, now)
	}
}

// TestWaiting: an instance waits for its owner, says for whom, and goes on by
// itself.
func TestWaiting(t *testing.T) {
	w := start(t, local.Options{})
	waits := func(name, says string) {
		t.Helper()
		w.Until(name+" waits, saying "+says, func() bool {
			s := w.sync(name)
			return s.State == model.StateWaiting && strings.Contains(s.Message, says)
		})
	}
	w.instance("unowned", "Guest", "")
	waits("unowned", "HelloWorldService, which the spec does not name yet")
	w.Until("the policy waits for a choice", func() bool {
		i := w.get("unowned")
		return i.Status.Policy != nil && i.Status.Policy.State == model.StateWaiting && strings.Contains(i.Status.Policy.Message, "found 0")
	})
	w.instance("early", "Other", "late")
	waits("early", "HelloWorldService late, which does not exist")
	w.UntilIdle() // Nobody has to run while they wait.

	// The owner comes, but is held back: it is not synced yet.
	s := w.service("late", "Jhon Snow")
	w.Until("both have or know their owner", func() bool { return w.get("unowned").OwnerName() == "late" })
	w.greets(message("Jhon Snow", "Guest"), message("Jhon Snow", "Other"))
	w.untilReady("unowned")
	w.untilReady("early")

	// An owner whose new generation is not synced.
	s, err := w.services.Get(t.Context(), namespace, s.Name)
	if err != nil {
		t.Fatal(err)
	}
	s.Annotations = map[string]string{model.AnnotationPaused: "true"}
	s.Spec.HelloFrom = "Arya Stark"
	if _, _, err := w.services.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	waits("early", "HelloWorldService late, which is not synced yet")
	w.greets(message("Jhon Snow", "Guest"), message("Jhon Snow", "Other"))
	_, _, err = w.services.Modify(t.Context(), namespace, s.Name, func(s *v1alpha1.HelloWorldService) error {
		s.Annotations[model.AnnotationPaused] = "false"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.greets(message("Arya Stark", "Guest"), message("Arya Stark", "Other"))
}
