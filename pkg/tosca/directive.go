package tosca

import (
	"bytes"
	"fmt"
	"regexp"
)

// versionDirective finds the %YAML directive of each document: at the start of the text or after the
// end of a document ("..."), with nothing before it but comments and other directives.
var versionDirective = regexp.MustCompile(`(?m)(?:\A\x{FEFF}?|^\.\.\.[^\n]*\n)(?:(?:[ \t]*(?:#[^\n]*)?\r?|%[^\n]*)\n)*?%YAML[ \t]+(\d+)\.(\d+)`)

// anyVersion makes every document one of YAML 1.1, the only version that yaml.v3 takes. PyYAML, with
// which XOS read recipes, takes any 1.x and reads it as 1.1, too. No line becomes another line.
func anyVersion(data []byte) ([]byte, *Error) {
	if !bytes.Contains(data, []byte("%YAML")) {
		return data, nil
	}
	matches := versionDirective.FindAllSubmatchIndex(data, -1)
	var out []byte
	end := 0
	for _, m := range matches {
		major, minor := data[m[2]:m[3]], data[m[4]:m[5]]
		if string(major) != "1" {
			return nil, &Error{Name: SyntaxError, Line: 1 + bytes.Count(data[:m[2]], []byte("\n")),
				Message: fmt.Sprintf("%%YAML %s.%s is not known; expected 1.1 or 1.2", clip(string(major)), clip(string(minor)))}
		}
		out = append(append(out, data[end:m[4]]...), '1')
		end = m[5]
	}
	return append(out, data[end:]...), nil
}
