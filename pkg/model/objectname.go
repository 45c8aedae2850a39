package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/kmeta"
)

// ObjectName makes the name of an object out of its display name:
//
//   - a name that Kubernetes takes stays as it is ("shelf-1");
//   - otherwise letters become lower case, and everything but a to z and digits becomes a dash
//     ("Science Fiction 1" is science-fiction-1);
//   - if characters that are not ASCII are lost in that, a hash of the display name is added ("Jörg"
//     is j-rg-8e63741c42), so that it differs from that of other names ("Jürg");
//   - if no character is left ("日本"), the name is the kind and a hash of the display name;
//   - a result of more than 63 bytes is shortened as Knative does it, with a hash.
//
// The same arguments always make the same name, and so do the Unicode normal forms of one display name.
// Two display names in ASCII can still make one object name ("Ann" and "ann", "a b" and "a-b"). The
// caller must check for that, and can then take the [DistinctName]. A blank display name is an error.
func ObjectName(kind, display string) (string, error) {
	if strings.TrimSpace(display) == "" {
		return "", fmt.Errorf("name: expected text that is not blank, got %q", display)
	}
	if len(validation.IsDNS1123Subdomain(display)) == 0 {
		return display, nil
	}
	if strings.ContainsFunc(display, func(r rune) bool { return r > unicode.MaxASCII }) {
		return DistinctName(kind, display), nil
	}
	if slug := slugOf(display); slug != "" {
		return kmeta.ChildName(slug, ""), nil
	}
	return DistinctName(kind, display), nil
}

// DistinctName makes a name of an object out of its display name like [ObjectName], but with a hash of
// the display name. No other display name makes the same one, but for the Unicode normal forms of this
// one.
func DistinctName(kind, display string) string {
	sum := sha256.Sum256([]byte(norm.NFC.String(display)))
	hash := "-" + hex.EncodeToString(sum[:5])
	slug := slugOf(display)
	if slug == "" {
		slug = strings.ToLower(kind)
	}
	return strings.TrimRight(slug[:min(len(slug), validation.DNS1123LabelMaxLength-len(hash))], "-") + hash
}

// slugOf is what is left of a display name if only a to z, digits and dashes are allowed.
func slugOf(display string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(norm.NFC.String(display)), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9')
	}), "-")
}
