package tosca

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/kmeta"
)

// ObjectName is the name of the object that a model gets which is called key in a recipe:
//
//   - a name that Kubernetes takes stays as it is ("greeter-1");
//   - otherwise it is put in lower case, and whatever is not a letter of a to z or a digit becomes a dash
//     ("HelloWorld Service Instance 1" is helloworld-service-instance-1);
//   - if no character is left ("日本"), it is the kind and a hash of the name;
//   - a result of more than 63 bytes is shortened as Knative does it, with a hash.
//
// It depends on nothing but its arguments, so that the same recipe finds the same objects for ever. Two names can become
// one; whoever calls it has to look for that.
func ObjectName(kind, key string) string {
	if len(validation.IsDNS1123Subdomain(key)) == 0 {
		return key
	}
	var b strings.Builder
	for _, r := range strings.ToLower(key) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
			continue
		}
		// Several characters that are replaced next to each other make one dash.
		if s := b.String(); s != "" && !strings.HasSuffix(s, "-") {
			b.WriteByte('-')
		}
	}
	slug := strings.TrimRight(b.String(), "-")
	if slug == "" {
		sum := sha256.Sum256([]byte(key))
		slug = strings.ToLower(kind) + "-" + hex.EncodeToString(sum[:5])
	}
	return kmeta.ChildName(slug, "")
}

// badName says what is wrong with a name that somebody gave to a node or a model; empty if nothing is.
func badName(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is blank"
	case len(s) > MaxName:
		return fmt.Sprintf("has %d bytes; at most %d are taken", len(s), MaxName)
	case s == "." || s == ".." || strings.ContainsAny(s, `/\`):
		return "looks like a path; names have no slashes"
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has characters that cannot be printed"
	}
	return ""
}

// snake is the name that a field has in recipes: helloFrom is hello_from, baseURL is base_url.
func snake(field string) string {
	rs := []rune(field)
	var b strings.Builder
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 && rs[i-1] != '_' {
			afterLower := !unicode.IsUpper(rs[i-1])
			beforeLower := i+1 < len(rs) && unicode.IsLower(rs[i+1])
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
