package function

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// CheckText refuses JSON with text that a decoder would replace by U+FFFD without an error, although
// nobody has sent that: bytes that are not UTF-8, and half of a surrogate pair ("\ud800"). The error
// names the field, below root. JSON that is not valid is left to the decoder.
func CheckText(root string, raw []byte) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("%s: expected JSON in UTF-8", root)
	}
	if !unpaired(raw) || !stdjson.Valid(raw) {
		return nil
	}
	return fmt.Errorf("%s: expected text in Unicode, got half of a surrogate pair", unpairedField(root, raw))
}

// unpairedField is the path of the innermost field that has half of a surrogate pair.
func unpairedField(path string, raw []byte) string {
	switch raw = bytes.TrimSpace(raw); raw[0] {
	case '{':
		var fields map[string]stdjson.RawMessage
		_ = stdjson.Unmarshal(raw, &fields) // It is valid.
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if unpaired(fields[name]) {
				return unpairedField(path+"."+name, fields[name])
			}
		}
	case '[':
		var items []stdjson.RawMessage
		_ = stdjson.Unmarshal(raw, &items)
		for i, item := range items {
			if unpaired(item) {
				return unpairedField(fmt.Sprintf("%s[%d]", path, i), item)
			}
		}
	}
	return path
}

// unpaired reports whether JSON has an escape that is half of a surrogate pair. Backslashes are only in
// strings.
func unpaired(raw []byte) bool {
	for i := bytes.IndexByte(raw, '\\'); i >= 0 && i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		r := escaped(raw[i:])
		switch {
		case r < 0:
			i++ // Another escape, which may be that of a backslash.
		case !utf16.IsSurrogate(r):
			i += 5
		case utf16.DecodeRune(r, escaped(raw[i+6:])) == utf8.RuneError:
			return true
		default:
			i += 11
		}
	}
	return false
}

// escaped is the number of the \uXXXX that raw begins with, -1 if it does not.
func escaped(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
