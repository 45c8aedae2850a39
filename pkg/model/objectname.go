package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/kmeta"
)

// ObjectName makes the name of an object out of its display name:
//
//   - a name that Kubernetes takes stays as it is ("shelf-1");
//   - otherwise letters become lower case, and everything but a to z and digits becomes a dash
//     ("Science Fiction 1" is science-fiction-1);
//   - if no character is left ("日本"), the name is the kind and a hash of the display name;
//   - a result of more than 63 bytes is shortened as Knative does it, with a hash.
//
// The same arguments always make the same name. Two display names can make one object name; the
// caller must check for that. A blank display name is an error.
func ObjectName(kind, display string) (string, error) {
	if strings.TrimSpace(display) == "" {
		return "", fmt.Errorf("name: expected text that is not blank, got %q", display)
	}
	if len(validation.IsDNS1123Subdomain(display)) == 0 {
		return display, nil
	}
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(display) {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') {
			dash = true // Several next to each other make one dash, none at the ends.
			continue
		}
		if dash && b.Len() > 0 {
			b.WriteByte('-')
		}
		dash = false
		b.WriteRune(r)
	}
	slug := b.String()
	if slug == "" {
		sum := sha256.Sum256([]byte(display))
		slug = strings.ToLower(kind) + "-" + hex.EncodeToString(sum[:5])
	}
	return kmeta.ChildName(slug, ""), nil
}
