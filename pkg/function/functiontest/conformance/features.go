package conformance

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// features plays the scenarios of the HTTP binding.
func (s *suite) features(t *testing.T, to string) {
	for _, outline := range strings.Split(s.read(t, "features/http-protocol-binding.feature"), "Scenario Outline: ")[1:] {
		parts := strings.Split(outline, `"""`)
		for _, example := range rows(parts[4]) {
			fill := strings.NewReplacer("<contentType>", example[0]).Replace
			title, _, _ := strings.Cut(fill(parts[0]), "\n")
			t.Run(title, func(t *testing.T) { s.scenario(t, to, fill(parts[1]), rows(fill(parts[2])), parts[3]) })
		}
	}
}

// scenario sends a request, and checks the event.
func (s *suite) scenario(t *testing.T, to, request string, attributes [][]string, data string) {
	lines := strings.ReplaceAll(strings.TrimLeft(request, "\n"), "\n        ", "\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimLeft(lines, " "))))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI, r.Host = "", ""
	if r.URL, err = url.Parse(to); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("want 2xx, got %s", resp.Status)
	}
	var got struct {
		Attributes map[string]any `yaml:"ContextAttributes"`
		Data       string         `yaml:"Data"`
	}
	if err := yaml.Unmarshal([]byte(s.history(t, 1)), &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range attributes {
		if got.Attributes[row[0]] != row[1] {
			t.Errorf("%s: want %q, got %q", row[0], row[1], got.Attributes[row[0]])
		}
	}
	var wantJSON, gotJSON any
	if err := errors.Join(json.Unmarshal([]byte(data), &wantJSON), json.Unmarshal([]byte(got.Data), &gotJSON)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantJSON, gotJSON); diff != "" {
		t.Errorf("data: -want +got:\n%s", diff)
	}
}

// rows are those of a table of a feature, without its head.
func rows(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for i, cell := range cells {
				cells[i] = strings.TrimSpace(cell)
			}
			rows = append(rows, cells[1:len(cells)-1])
		}
	}
	return rows[1:]
}
