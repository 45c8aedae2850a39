package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/kmeta"
)

// ObjectName is the name of the object of that kind which humans call display:
//
//   - a name that Kubernetes takes stays as it is ("greeter-1");
//   - otherwise it is put in lower case, and whatever is not a letter of a to z
//     or a digit becomes a dash ("HelloWorld Service Instance 1" is
//     helloworld-service-instance-1);
//   - if no character is left ("日本"), it is the kind and a hash of the name;
//   - a result of more than 63 bytes is shortened as Knative does it, with a hash.
//
// It depends on nothing but its arguments, so that the same display name finds
// the same object forever. Two display names can become one object name;
// whoever calls it has to look for that. A blank name is an error.
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
