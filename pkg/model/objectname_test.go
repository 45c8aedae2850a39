package model_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/xos-knative/synchronizer/pkg/model"
)

func TestObjectName(t *testing.T) {
	cases := map[string]struct{ reason, display, want string }{
		"Valid":     {"A name that Kubernetes takes stays", "shelf-1", "shelf-1"},
		"Dots":      {"With its dots", "a.b", "a.b"},
		"Spaces":    {"Words become one", "Science Fiction Shelf 1", "science-fiction-shelf-1"},
		"Runs":      {"Runs of other characters are one dash, none at the ends", "  (A) & b! ", "a-b"},
		"Case":      {"In lower case", "Ann", "ann"},
		"Accents":   {"What is not ASCII is lost, so a hash is added", "Jörg", "j-rg-8e63741c42"},
		"Umlauts":   {"Which differs from that of another name", "Jürg", "j-rg-5d55625ced"},
		"NFD":       {"Not from that of the same name in another normal form", "Jo\u0308rg", "j-rg-8e63741c42"},
		"Cyrillic":  {"Also if hardly anything is left", "Иван 1", "1-9222aacd90"},
		"Kelvin":    {"Also if the lower case is ASCII", "\u212a", "k-86be9a5576"},
		"LongNot":   {"The hash is not cut off", "ö" + strings.Repeat("a", 100), strings.Repeat("a", 52) + "-2d25432e21"},
		"Nothing":   {"If nothing is left, a hash stands for it", "日本", "widget-cf2abf0c5b"},
		"Long":      {"Long names are shortened with a hash", strings.Repeat("A", 100), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa36a92cc94a9e0fa21f625f8bfb007adf"},
		"LongValid": {"But not those that are valid", strings.Repeat("a", 100), strings.Repeat("a", 100)},
		"Cut":       {"Wherever they are cut", strings.Repeat("A", 30) + strings.Repeat(" b", 40), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-9d655d5418e981ad3b90053a015a3c39"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := model.ObjectName("Widget", tc.display)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", tc.reason, diff)
			}
			if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 {
				t.Errorf("%s: %s: %v", tc.reason, got, errs)
			}
		})
	}
	for display, kept := range map[string]string{"Ann": "ann", "a b": "a-b", "!": "widget"} {
		if got := model.DistinctName("Widget", display); !strings.HasPrefix(got, kept+"-") || len(got) != len(kept)+11 {
			t.Errorf("a distinct name of %q: want %s with a hash, got %s", display, kept, got)
		}
	}
	for _, blank := range []string{"", " \t"} {
		if got, err := model.ObjectName("Widget", blank); err == nil {
			t.Errorf("a blank name makes no object name: got %q", got)
		}
	}
}
