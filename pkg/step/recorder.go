package step

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/utils/lru"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/model"
)

// reportingController is the name under which all functions record Kubernetes Events.
const reportingController = "xos-knative.dev/synchronizer"

// What is recorded and written at most. Events are for people: of a flood they need no more.
const (
	// maxPendingEvents may wait to be written. Further ones are dropped.
	maxPendingEvents = 1000
	// eventRate is how many are written in a second, after eventBurst at once.
	eventRate, eventBurst = 20, 100
	// seriesAge is how long an event can come again and be counted, not written as another one
	// (client-go has the same).
	seriesAge = 6 * time.Minute
	// eventTries is how often a write is tried, and eventRetry the wait in between.
	eventTries, eventRetry = 3, time.Second
)

// recorder writes Kubernetes Events (events.k8s.io/v1) in the background, so that none holds up or fails a
// run. An event that comes again is counted in the series of the first one.
//
// It is not client-go's recorder (k8s.io/client-go/tools/events), which takes another note for the same
// event, writes in a way that the API does not offer for custom resources, cannot say when all is
// written, and links the clients of all of Kubernetes: half again of a function's size.
type recorder struct {
	models   *model.Client
	log      *zap.SugaredLogger
	instance string
	limiter  *rate.Limiter
	// hurry is closed by the first flush: from then on nothing waits.
	hurry     chan struct{}
	hurryOnce sync.Once
	failed    sync.Once

	// mu protects following.
	mu     sync.Mutex
	recent *lru.Cache // Of *series, by eventKey.
	queue  []*series
	// done is closed when the queue is empty, nil if nothing is being written.
	done chan struct{}
}

// eventKey is what makes two events the same.
type eventKey struct {
	regarding                       corev1.ObjectReference
	eventType, reason, action, note string
}

// series is an event and how often it has come. The recorder's mu protects it.
type series struct {
	eventKey
	name            string
	first, last     time.Time
	count           int32
	queued, written bool
}

func newRecorder(ctx context.Context, models *model.Client) *recorder {
	host, err := os.Hostname() // In a pod, its name.
	if err != nil || host == "" {
		host = reportingController
	}
	return &recorder{
		models: models, log: logging.FromContext(ctx), instance: host,
		limiter: rate.NewLimiter(eventRate, eventBurst), hurry: make(chan struct{}), recent: lru.New(maxPendingEvents),
	}
}

// Event records a Kubernetes Event of type Normal about an object, which `kubectl describe` shows. The
// context is the one that the step was called with; with any other it does nothing. The reason is one
// word in CamelCase, the rest says for people what has happened, in 1024 bytes at most. An error that
// the step returns becomes an event (Warning) without it. The function's account needs the right to
// create and patch events of the group events.k8s.io.
func Event(ctx context.Context, obj model.Object, reason, format string, args ...any) {
	if e, ok := ctx.Value(eventsKey{}).(events); ok {
		e.recorder.record(obj, corev1.EventTypeNormal, reason, e.action, fmt.Sprintf(format, args...))
	}
}

// Record is [Event] for what a program does beside its steps, also of type Warning.
func (f *Function) Record(obj model.Object, eventType, reason, action, format string, args ...any) {
	f.recorder.record(obj, eventType, reason, action, fmt.Sprintf(format, args...))
}

// events is what a context has for [Event].
type events struct {
	*recorder
	action string // The step.
}

type eventsKey struct{}

// during returns a context in which [Event] works.
func (r *recorder) during(ctx context.Context, action string) context.Context {
	return context.WithValue(ctx, eventsKey{}, events{r, action})
}

// record queues an event.
func (r *recorder) record(obj model.Object, eventType, reason, action, note string) {
	regarding, err := r.models.ObjectReference(obj)
	if err != nil {
		r.log.Warnw("An event has no object", zap.String("reason", reason), zap.Error(err))
		return
	}
	regarding.ResourceVersion = "" // It changes with each status.
	key := eventKey{*regarding, eventType, reason, action, truncate(note)}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &series{eventKey: key, name: util.GenerateEventName(obj.GetName(), now.UnixNano()), first: now}
	if known, ok := r.recent.Get(key); ok && now.Sub(known.(*series).last) < seriesAge {
		s = known.(*series)
	}
	s.count, s.last = s.count+1, now
	if s.queued || len(r.queue) >= maxPendingEvents {
		return
	}
	s.queued = true
	r.recent.Add(key, s)
	r.queue = append(r.queue, s)
	if r.done == nil {
		r.done = make(chan struct{})
		go r.work()
	}
}

// work writes what is queued.
func (r *recorder) work() {
	for {
		s, event, written := r.next()
		if s == nil {
			return
		}
		r.pause(r.limiter.Reserve().Delay())
		err := r.write(event, written)
		for try := 1; try < eventTries && mayPass(err); try++ {
			r.pause(eventRetry)
			err = r.write(event, written)
		}
		if err != nil {
			r.failed.Do(func() {
				r.log.Warnw("A Kubernetes Event could not be written; steps run as before, and further failures are not logged", zap.Error(err))
			})
			continue
		}
		r.mu.Lock()
		s.written = true
		r.mu.Unlock()
	}
}

// next takes a series out of the queue. It returns the event as it is now, and whether it was written before.
func (r *recorder) next() (*series, *eventsv1.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		close(r.done)
		r.done = nil
		return nil, nil, false
	}
	s := r.queue[0]
	r.queue, s.queued = r.queue[1:], false
	return s, r.event(s), s.written
}

func (r *recorder) event(s *series) *eventsv1.Event {
	event := &eventsv1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta:          metav1.ObjectMeta{Namespace: s.regarding.Namespace, Name: s.name},
		EventTime:           metav1.NewMicroTime(s.first),
		ReportingController: reportingController,
		ReportingInstance:   r.instance,
		Action:              s.action,
		Reason:              s.reason,
		Regarding:           s.regarding,
		Note:                s.note,
		Type:                s.eventType,
	}
	if s.count > 1 {
		event.Series = &eventsv1.EventSeries{Count: s.count, LastObservedTime: metav1.NewMicroTime(s.last)}
	}
	return event
}

// write creates an event, or updates its series. The client bounds the time of each request.
func (r *recorder) write(event *eventsv1.Event, written bool) error {
	if written {
		err := r.models.PatchEvent(context.Background(), event)
		if !model.IsGone(err) {
			return err
		}
	}
	return r.models.CreateEvent(context.Background(), event)
}

// mayPass reports whether another try can succeed.
func mayPass(err error) bool {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Code >= http.StatusInternalServerError || apierrors.IsTooManyRequests(err)
	}
	return err != nil
}

// pause waits, until there is a hurry.
func (r *recorder) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.hurry:
	}
}

// flush returns when all events are written, or when the context ends.
func (r *recorder) flush(ctx context.Context) {
	r.hurryOnce.Do(func() { close(r.hurry) })
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
		r.log.Warnw("Not all Kubernetes Events could be written in time", zap.Error(ctx.Err()))
	}
}
