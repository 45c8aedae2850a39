package console

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Escape makes text safe to show within one line of a terminal: what is not printable is shown as Go would write it, such
// as \x1b for ESC. That goes for control characters, also those from 0x80 on, for bytes that are no UTF-8, and for the
// format characters that turn the direction of text around. A tab becomes spaces.
func Escape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == '\t':
			b.WriteString("    ")
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(text[0])|0x100, 16)[1:])
		case strconv.IsGraphic(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}

// EscapeLines is Escape for a text of several lines, which stay lines.
func EscapeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = Escape(l)
	}
	return strings.Join(lines, "\n")
}
