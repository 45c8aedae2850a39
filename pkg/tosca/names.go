package tosca

import (
	"fmt"
	"strings"
	"unicode"
)

// badName says what is wrong with the name of a node or a model; empty if nothing is.
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

// PropertyName is the name that a field of a spec has in recipes, unless another field would have the same:
// itemCode is item_code.
func PropertyName(field string) string { return snake(field) }

// snake is the name that a field has in recipes: itemCode is item_code, baseURL is base_url.
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
