package console

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newTest(verbose bool) (*Console, *bytes.Buffer) {
	out := &bytes.Buffer{}
	c := New(out, verbose)
	c.now = func() time.Time { return time.Date(2024, 1, 2, 3, 4, 5, 6e6, time.UTC) }
	return c, out
}

func TestProgram(t *testing.T) {
	const stamp = "03:04:05.006 sync                 | "
	cases := map[string]struct {
		reason  string
		in      []string
		verbose bool
		want    string
	}{
		"Plain":     {reason: "A line that is no JSON is left as it is.", in: []string{"panic: oh\n"}, want: stamp + "panic: oh\n"},
		"Pieces":    {reason: "Lines may come in pieces.", in: []string{"a", "b\nc", "d\n"}, want: stamp + "ab\n" + stamp + "cd\n"},
		"Empty":     {reason: "Empty lines say nothing.", in: []string{"\n\r\n"}, want: ""},
		"BadJSON":   {reason: "What only begins like JSON is left as it is.", in: []string{"{oh\n"}, want: stamp + "{oh\n"},
		"DebugLine": {reason: "Debug lines are for those who ask.", in: []string{`{"level":"debug","msg":"x"}` + "\n"}, want: ""},
		"DebugVerbose": {
			reason: "Who asks gets them.", in: []string{`{"level":"debug","msg":"x"}` + "\n"}, verbose: true, want: stamp + "DEBUG x\n",
		},
		"Knative": {
			reason: "A log line of knative.dev/pkg/logging: message, model, and what is not said elsewhere.",
			in:     []string{`{"severity":"WARNING","timestamp":"t","logger":"l","caller":"c","message":"m y","kind":"K","name":"n","step":"sync","id":"1","z":1,"a":"b c"}` + "\n"},
			want:   stamp + `WARNING m y K/n a="b c" z=1` + "\n",
		},
		"Slog": {reason: "So does log/slog.", in: []string{`{"time":"t","level":"ERROR","msg":"m","err":"e"}` + "\n"}, want: stamp + "ERROR m err=e\n"},
		"Long": {
			reason: "Long values are cut.", in: []string{`{"msg":"m","v":"` + strings.Repeat("x", 500) + `"}` + "\n"},
			want: stamp + "m v=" + strings.Repeat("x", maxValue) + "...\n",
		},
		"Endless": {
			reason: "A line without an end must not fill the memory.", in: []string{strings.Repeat("x", maxLine+2)},
			want: stamp + strings.Repeat("x", maxLine+1) + "\n",
		},
		"ControlPlain": {
			reason: "What is not printable is shown, not obeyed.",
			in:     []string{"\x1b[31mred\x1b]0;t\a\rback\bx\x7f \u009b2J \xff\xc2 \u202eevil\u2066\u2028 \ttab \u00e9\u2713\n"},
			want:   stamp + `\x1b[31mred\x1b]0;t\a\rback\bx\x7f \u009b2J \xff\xc2 \u202eevil\u2066\u2028     tab é✓` + "\n",
		},
		"ControlFields": {
			reason: "No field of a log line begins a line of its own, whichever place it is shown in.",
			in:     []string{`{"level":"x\ny","msg":"m\r\nfake line","kind":"K\u001b","name":"n\u009b31m","k\ney":"\u001b[0m","v":["\u001b"],"n\rested":{"a\u202e":"b\n"}}` + "\n"},
			want:   stamp + `X\nY m\r\nfake line K\x1b/n\u009b31m k\ney=\x1b[0m n\rested={"a\u202e":"b\n"} v=["\u001b"]` + "\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, out := newTest(tc.verbose)
			raw := &bytes.Buffer{}
			w := c.Program("sync", raw)
			for _, s := range tc.in {
				_, _ = io.WriteString(w, s)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("\n%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(strings.Join(tc.in, ""), raw.String()); diff != "" {
				t.Errorf("the file must have it as it came: -want, +got:\n%s", diff)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	c, out := newTest(false)
	c.Event("sync", "started in %d ms", 5)
	c.Problem("sync", "ended")
	c.Detail("sync", "unheard")
	want := "03:04:05.006 sync                 • started in 5 ms\n03:04:05.006 sync                 ! ended\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	c.colour = true
	c.Event("sync", "x")
	if !strings.Contains(out.String(), "\x1b[") {
		t.Error("a terminal gets colours")
	}
}

func TestEventsAreOneLine(t *testing.T) {
	const evil = "\x1b[31mRED\x1b]0;t\a\r\nfake line \u202e\u009b"
	const shown = `\x1b[31mRED\x1b]0;t\a\r\nfake line \u202e\u009b`
	c, out := newTest(true)
	for _, say := range []func(name, format string, args ...any){c.Event, c.Problem, c.Detail} {
		out.Reset()
		say(evil, "it says %s", evil)
		mark := strings.Fields(out.String()[len("03:04:05.006 "+shown):])[0]
		if mark == "it" {
			mark = " "
		}
		if diff := cmp.Diff("03:04:05.006 "+shown+" "+mark+" it says "+shown+"\n", out.String()); diff != "" {
			t.Errorf("-want, +got:\n%s", diff)
		}
	}
	out.Reset()
	c.Print("first\n" + evil + "\n")
	if diff := cmp.Diff("first\n"+`\x1b[31mRED\x1b]0;t\a\r`+"\n"+`fake line \u202e\u009b`+"\n", out.String()); diff != "" {
		t.Errorf("a text has lines: -want, +got:\n%s", diff)
	}
}
