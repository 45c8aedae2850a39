package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/pager"
	"k8s.io/utils/lru"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/apis/core/v1alpha1"
	"github.com/xos-knative/synchronizer/pkg/model"
)

// reasonDropped is the reason of the Kubernetes Event about a dropped letter.
const reasonDropped = "DeadLetterDropped"

// limits drops the oldest dead letters of a namespace beyond a number, so that a
// flood of them cannot fill etcd. It reads metadata only: the letters themselves
// are large.
type limits struct {
	max     int
	letters metadata.Interface
	events  dynamic.Interface

	// mu protects following.
	mu sync.Mutex
	// byNamespace has a *limit for each of the namespaces that were used last.
	byNamespace *lru.Cache
}

// rememberedNamespaces is for how many namespaces a limit is kept. What is lost
// with one is its pace.
const rememberedNamespaces = 1000

// newLimits makes limits of so many letters for each namespace.
func newLimits(most int, letters metadata.Interface, events dynamic.Interface) (*limits, error) {
	if most < 1 {
		return nil, fmt.Errorf("MAX_DEAD_LETTERS: expected 1 or more, got %d", most)
	}
	return &limits{max: most, letters: letters, events: events, byNamespace: lru.New(rememberedNamespaces)}, nil
}

// Enforce drops what is too much in the namespace. What keeps it from that is
// logged: the next dead letter comes by here too.
func (l *limits) Enforce(ctx context.Context, namespace string) {
	one := l.of(namespace)
	one.mu.Lock()
	defer one.mu.Unlock()
	if err := one.enforce(ctx); err != nil {
		logging.FromContext(ctx).Errorw("The number of dead letters could not be limited",
			zap.String("namespace", namespace), zap.Int("max", l.max), zap.Error(err))
	}
}

// of returns the limit of a namespace.
func (l *limits) of(namespace string) *limit {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept, ok := l.byNamespace.Get(namespace); ok {
		return kept.(*limit)
	}
	one := &limit{
		max:     l.max,
		letters: l.letters.Resource(v1alpha1.GroupVersion.WithResource("deadletters")).Namespace(namespace),
		events:  l.events.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(namespace),
		pace:    rate.NewLimiter(1, 25),
	}
	l.byNamespace.Add(namespace, one)
	return one
}

// limit is that of one namespace.
type limit struct {
	max     int
	letters metadata.ResourceInterface
	events  dynamic.ResourceInterface
	// pace keeps the Kubernetes Events about a flood from being a flood: 25 at once
	// and then one a second. The log tells of all.
	pace *rate.Limiter

	// mu is held while letters are counted and dropped.
	mu sync.Mutex
}

func (l *limit) enforce(ctx context.Context) error {
	// Mostly this is all: one object, and how many others there are.
	first, err := l.letters.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("counting dead letters: %w", err)
	}
	count := int64(len(first.Items))
	if first.RemainingItemCount != nil {
		count += *first.RemainingItemCount
	}
	if count <= int64(l.max) {
		return nil
	}
	all, err := l.oldestFirst(ctx)
	if err != nil {
		return err
	}
	for _, letter := range all[:max(0, len(all)-l.max)] {
		if err := l.drop(ctx, letter); err != nil {
			return err
		}
	}
	return nil
}

// oldestFirst lists the letters that are not being deleted.
func (l *limit) oldestFirst(ctx context.Context) ([]metav1.ObjectMeta, error) {
	var all []metav1.ObjectMeta
	list := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return l.letters.List(ctx, o) })
	err := list.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		m := obj.(*metav1.PartialObjectMetadata).ObjectMeta
		if m.DeletionTimestamp.IsZero() {
			all = append(all, metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, CreationTimestamp: m.CreationTimestamp, Finalizers: m.Finalizers})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	slices.SortFunc(all, func(a, b metav1.ObjectMeta) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// drop deletes a letter and takes the sync step's finalizer off, which waits for
// nothing: a flood must go also when no step runs.
func (l *limit) drop(ctx context.Context, letter metav1.ObjectMeta) error {
	err := l.letters.Delete(ctx, letter.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(letter.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // Somebody else was faster.
	}
	if err != nil {
		return fmt.Errorf("deleting DeadLetter %s: %w", letter.Name, err)
	}
	logging.FromContext(ctx).Warnw("Dead letter dropped: it was the oldest of too many", zap.String("namespace", letter.Namespace), zap.String("name", letter.Name),
		zap.Time("created", letter.CreationTimestamp.Time), zap.Int("max", l.max))
	l.tell(ctx, letter)

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

// tell makes a Kubernetes Event about a dropped letter.
func (l *limit) tell(ctx context.Context, letter metav1.ObjectMeta) {
	log := logging.FromContext(ctx)
	if !l.pace.Allow() {
		return
	}
	now := metav1.Now()
	event, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Namespace: letter.Namespace, Name: fmt.Sprintf("%s.%x", letter.Name, now.UnixNano())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "DeadLetter", Namespace: letter.Namespace, Name: letter.Name, UID: letter.UID},
		Type:           corev1.EventTypeWarning,
		Reason:         reasonDropped,
		Message:        fmt.Sprintf("dropped as the oldest of more than %d dead letters; it was of %s", l.max, letter.CreationTimestamp.Format(time.RFC3339)),
		Source:         corev1.EventSource{Component: "deadletter"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})
	if err != nil {
		log.Warnw("No Kubernetes Event could be made", zap.Error(err))
		return
	}
	_, err = l.events.Create(ctx, &unstructured.Unstructured{Object: event}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		log.Debug("This Kubernetes API has no Events") // As without a cluster.
		return
	}
	if err != nil {
		log.Warnw("No Kubernetes Event could be made", zap.Error(err))
	}
}
