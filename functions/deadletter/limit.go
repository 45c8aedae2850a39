package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/lru"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/functions/deadletter/envelope"
	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// Reasons and actions of the Kubernetes Events about letters.
const (
	reasonStored, actionStore = "DeadLetterStored", "store"
	reasonDropped, actionDrop = "DeadLetterDropped", "drop"
)

// recordFunc records a Kubernetes Event; see [step.Function.Record].
type recordFunc func(obj model.Object, eventType, reason, action, format string, args ...any)

const (
	// overhead is about how many bytes a letter has beside its event.
	overhead = 2048
	// waiting is how long a letter waits for its turn in a flood. It is less than storing.
	waiting = 10 * time.Second
	// slack is how much of a limit, as a divisor, is stored between two looks at all letters, and is
	// dropped beyond what has to be.
	slack = 10
	// rememberedNamespaces is for how many namespaces a limit is kept. Without it, a namespace only
	// starts with a new pace.
	rememberedNamespaces = 1000
)

// limits keeps a flood of dead letters from filling etcd, for each namespace on its own. Two things
// are bounded: what is there, for which the oldest letters are dropped beyond a number and a size,
// and what is written in a second, because etcd keeps also what was deleted until the API server
// compacts it, some ten minutes later.
//
// The size of a letter is an annotation, so that only metadata is listed: the letters themselves are
// large. All are listed once for a tenth of the limit, not for each letter.
type limits struct {
	settings
	letters metadata.Interface
	record  recordFunc

	// mu protects following.
	mu sync.Mutex
	// byNamespace has a *limit for each of the namespaces that were used last.
	byNamespace *lru.Cache
}

func newLimits(s settings, letters metadata.Interface, record recordFunc) (*limits, error) {
	if s.Max < 1 {
		return nil, fmt.Errorf("MAX_DEAD_LETTERS: expected 1 or more, got %d", s.Max)
	}
	if s.MaxBytes < 2*envelope.MaxStored {
		return nil, fmt.Errorf("MAX_DEAD_LETTER_BYTES: expected %d or more, got %d", 2*envelope.MaxStored, s.MaxBytes)
	}
	if s.BytesPerSecond < 1 {
		return nil, fmt.Errorf("DEAD_LETTER_BYTES_PER_SECOND: expected 1 or more, got %d", s.BytesPerSecond)
	}
	return &limits{settings: s, letters: letters, record: record, byNamespace: lru.New(rememberedNamespaces)}, nil
}

// Wait waits until the letter may be written. The error says that this would take too long: whoever
// sends so much has to wait.
func (l *limits) Wait(ctx context.Context, letter *v1alpha1.DeadLetter) error {
	ctx, cancel := context.WithTimeout(ctx, waiting)
	defer cancel()
	if err := l.of(letter.Namespace).written.WaitN(ctx, int(bytesOf(letter.ObjectMeta))); err != nil {
		return fmt.Errorf("expected at most %d bytes of dead letters a second, got more: send it again later", l.BytesPerSecond)
	}
	return nil
}

// Stored is called for each new letter. It drops the oldest letters of the namespace beyond the
// limit. An error is only logged: the next dead letter makes it try again.
func (l *limits) Stored(ctx context.Context, letter *v1alpha1.DeadLetter) {
	one := l.of(letter.Namespace)
	one.mu.Lock()
	defer one.mu.Unlock()
	one.count--
	one.bytes -= bytesOf(letter.ObjectMeta)
	if one.count >= 0 && one.bytes >= 0 {
		return
	}
	if err := one.enforce(ctx); err != nil {
		logging.FromContext(ctx).Errorw("The number of dead letters could not be limited",
			zap.String("namespace", letter.Namespace), zap.Int("max", l.Max), zap.Int64("maxBytes", l.MaxBytes), zap.Error(err))
	}
}

// bytesOf is about how large a letter is. One that this function has not made may not say so, and is
// taken for small: such letters do not come in floods.
func bytesOf(letter metav1.ObjectMeta) int64 {
	n, err := strconv.ParseInt(letter.Annotations[envelope.AnnotationBytes], 10, 64)
	if err != nil {
		n = 0
	}
	return overhead + min(max(n, 0), envelope.MaxStored)
}

// of returns the limit of a namespace.
func (l *limits) of(namespace string) *limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept, ok := l.byNamespace.Get(namespace); ok {
		return kept.(*limit)
	}
	one := &limit{
		settings: l.settings,
		letters:  l.letters.Resource(v1alpha1.GroupVersion.WithResource("deadletters")).Namespace(namespace),
		record:   l.record,
		written:  rate.NewLimiter(rate.Limit(l.BytesPerSecond), max(64*l.BytesPerSecond, 2*envelope.MaxStored)),
	}
	l.byNamespace.Add(namespace, one)
	return one
}

// limit is that of one namespace.
type limit struct {
	settings
	letters metadata.ResourceInterface
	record  recordFunc
	// written is the pace of what is written: a minute's worth at once.
	written *rate.Limiter

	// mu protects following. It is held while letters are listed and dropped.
	mu sync.Mutex
	// count and bytes are how much this process can store before it looks at all letters again.
	// Others can store and delete, too.
	count int
	bytes int64
}

func (l *limit) enforce(ctx context.Context) error {
	all, err := l.oldestFirst(ctx)
	if err != nil {
		return err
	}
	count, bytes := len(all), int64(0)
	for _, letter := range all {
		bytes += bytesOf(letter)
	}
	if count > l.Max || bytes > l.MaxBytes {
		for _, letter := range all[:len(all)-1] { // The newest stays.
			if count <= l.Max-l.Max/slack && bytes <= l.MaxBytes-l.MaxBytes/slack {
				break
			}
			if err := l.drop(ctx, letter); err != nil {
				return err
			}
			count, bytes = count-1, bytes-bytesOf(letter)
		}
	}
	l.count, l.bytes = min(l.Max-count, l.Max/slack), min(l.MaxBytes-bytes, l.MaxBytes/slack)
	return nil
}

// oldestFirst lists the letters that are not being deleted.
func (l *limit) oldestFirst(ctx context.Context) ([]metav1.ObjectMeta, error) {
	var all []metav1.ObjectMeta
	list := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return l.letters.List(ctx, o) })
	err := list.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		m := obj.(*metav1.PartialObjectMetadata).ObjectMeta
		if m.DeletionTimestamp.IsZero() {
			all = append(all, metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, CreationTimestamp: m.CreationTimestamp,
				Finalizers: m.Finalizers, Annotations: map[string]string{envelope.AnnotationBytes: m.Annotations[envelope.AnnotationBytes]}})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	slices.SortFunc(all, func(a, b metav1.ObjectMeta) int {
		// In a flood many are of the same second.
		order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
		if err != nil {
			order = cmp.Compare(a.Name, b.Name)
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), order)
	})
	return all, nil
}

// drop deletes a letter and takes the sync step's finalizer off, if the step has worked on it. It waits
// for nothing: a flood must go also when no step runs.
func (l *limit) drop(ctx context.Context, letter metav1.ObjectMeta) error {
	err := l.letters.Delete(ctx, letter.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(letter.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // Somebody else has deleted it.
	}
	if err != nil {
		return fmt.Errorf("deleting DeadLetter %s: %w", letter.Name, err)
	}
	logging.FromContext(ctx).Warnw("Dead letter dropped: it was the oldest of too many", zap.String("namespace", letter.Namespace), zap.String("name", letter.Name),
		zap.Time("created", letter.CreationTimestamp.Time), zap.Int("max", l.Max), zap.Int64("maxBytes", l.MaxBytes))
	l.record(&v1alpha1.DeadLetter{ObjectMeta: letter}, corev1.EventTypeWarning, reasonDropped, actionDrop,
		"the oldest of more than %d dead letters or %d bytes of them; it was of %s", l.Max, l.MaxBytes, letter.CreationTimestamp.Format(time.RFC3339))

	if !slices.Contains(letter.Finalizers, model.StepSync.Finalizer()) {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(letter.Finalizers), func(f string) bool { return f == model.StepSync.Finalizer() })
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": letter.UID, "finalizers": others}})
	if err != nil {
		return err
	}
	_, err = l.letters.Patch(ctx, letter.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("taking the finalizer of DeadLetter %s: %w", letter.Name, err)
	}
	return nil
}
