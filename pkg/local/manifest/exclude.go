package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Exclusions are resources to leave out. They remember which of them were found in the files.
type Exclusions struct {
	wanted []string
	found  sets.Set[string]
}

// Exclude leaves out resources, each as "kind/name" or "kind/namespace/name" in any case, such as "trigger/policy".
func Exclude(wanted ...string) *Exclusions {
	return &Exclusions{wanted: wanted, found: sets.New[string]()}
}

func (e *Exclusions) matches(kind string, m metav1.Object) bool {
	if e == nil {
		return false
	}
	short, long := kind+"/"+m.GetName(), kind+"/"+name(m)
	i := slices.IndexFunc(e.wanted, func(w string) bool { return strings.EqualFold(w, short) || strings.EqualFold(w, long) })
	if i < 0 {
		return false
	}
	e.found.Insert(e.wanted[i])
	return true
}

// Unused is an error that names what no file has, nil if there is no such thing.
func (e *Exclusions) Unused() error {
	var errs []error
	for _, w := range e.wanted {
		if !e.found.Has(w) {
			errs = append(errs, fmt.Errorf(`cannot leave out %q: no such resource in the files; expected kind/name, such as "trigger/policy"`, w))
		}
	}
	return errors.Join(errs...)
}
