// Package console writes what a human wants to see of a local run: one line for each event, and the log lines of the
// programs in a short form, each with the name of the program in front. The lines as the programs wrote them go to files.
// Nobody whose data is in a line can begin another one or control the terminal; see [Escape].
package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// nameWidth is the room for names such as helloworld/greeter, so that the texts stand in one column.
const nameWidth = 20

// maxValue is how much of one field of a log line is shown.
const maxValue = 120

// The colours that names take turns in, and others, as ANSI escapes.
var nameColours = []string{"\x1b[36m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[33m", "\x1b[96m", "\x1b[95m", "\x1b[92m"}

const (
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	amber = "\x1b[33m"
	bold  = "\x1b[1m"
	reset = "\x1b[0m"
)

// Console writes to one stream from many goroutines, whole lines at a time.
type Console struct {
	verbose bool
	colour  bool
	now     func() time.Time

	mu      sync.Mutex // protects following
	out     io.Writer
	colours map[string]string
}

// New writes to out. Colours are used if out is a terminal and NO_COLOR is not set (https://no-color.org).
func New(out io.Writer, verbose bool) *Console {
	c := &Console{verbose: verbose, out: out, now: time.Now, colours: map[string]string{}}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		c.colour = term.IsTerminal(int(f.Fd()))
	}
	return c
}

// Print writes a text of several lines.
func (c *Console) Print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, EscapeLines(text))
}

// Event says that something has happened to name.
func (c *Console) Event(name, format string, args ...any) {
	c.line(name, "•", bold, fmt.Sprintf(format, args...))
}

// Problem says that something has gone wrong with name.
func (c *Console) Problem(name, format string, args ...any) {
	c.line(name, "!", red, fmt.Sprintf(format, args...))
}

// Detail is an Event that is shown only if more was asked for.
func (c *Console) Detail(name, format string, args ...any) {
	if c.verbose {
		c.line(name, " ", dim, fmt.Sprintf(format, args...))
	}
}

// line writes one line. An empty colour leaves the text in that of the terminal.
func (c *Console) line(name, mark, colour, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp := c.now().Format("15:04:05.000")
	name = Escape(name)
	_, _ = fmt.Fprintf(c.out, "%s %s %s %s\n", c.paint(dim, stamp), c.paint(c.colourOf(name), fmt.Sprintf("%-*s", nameWidth, name)), mark,
		c.paint(colour, Escape(text)))
}

// colourOf gives each name a colour of its own, in the order of appearance. c.mu is held.
func (c *Console) colourOf(name string) string {
	if _, ok := c.colours[name]; !ok {
		c.colours[name] = nameColours[len(c.colours)%len(nameColours)]
	}
	return c.colours[name]
}

func (c *Console) paint(colour, text string) string {
	if !c.colour || colour == "" {
		return text
	}
	return colour + text + reset
}

// Program returns the writer for the output of a program, such as helloworld/sync: raw takes it as it is, the console gets
// the short form.
func (c *Console) Program(name string, raw io.Writer) io.Writer {
	return &lines{c: c, name: name, raw: raw}
}

// maxLine is how much of a line without an end is kept.
const maxLine = 64 << 10

// lines cuts a stream into lines.
type lines struct {
	c    *Console
	name string
	raw  io.Writer

	mu  sync.Mutex // protects buf
	buf []byte
}

// Write never fails, because a program must not end because of its log.
func (l *lines) Write(p []byte) (int, error) {
	_, _ = l.raw.Write(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) > maxLine {
			i = len(l.buf) - 1
		}
		if i < 0 {
			return len(p), nil
		}
		if line := bytes.TrimRight(l.buf[:i], "\r\n"); len(line) > 0 {
			l.c.program(l.name, line)
		}
		l.buf = l.buf[i+1:]
	}
}

// program shows one line of a program.
func (c *Console) program(name string, line []byte) {
	level, text := shorten(name, line)
	if text == unread {
		return
	}
	colour := ""
	switch level {
	case "debug":
		if !c.verbose {
			return
		}
		colour = dim
	case "warn", "warning":
		colour = amber
	case "error", "dpanic", "panic", "fatal", "critical", "alert", "emergency":
		colour = red
	}
	c.line(name, "|", colour, text)
}

// hidden are the fields of structured logs that are shown in another way, or are of no use to somebody who watches; the log
// files have them.
var hidden = []string{
	"timestamp", "time", "ts", "severity", "level", "lvl", "logger", "caller", "message", "msg", "stacktrace", "stack",
	"commit", "knative.dev/pod", "kind", "name", "namespace", "id", "uid", "generation",
}

// unread is what Knative's logging says at the start of every program that was built outside of a version control system.
const unread = "Unable to read vcs.revision from binary"

// shorten makes a readable line of a structured one, as zap and slog write them in JSON. Others are left as they are.
// What is said twice is left out: the model has its own place behind the message, and a step often has the name of the
// program that runs it.
func shorten(program string, line []byte) (level, text string) {
	var fields map[string]any
	if line[0] != '{' || json.Unmarshal(line, &fields) != nil {
		return "", string(line)
	}
	level = strings.ToLower(first(fields, "severity", "level", "lvl"))
	parts := []string{}
	if level != "info" && level != "" {
		parts = append(parts, strings.ToUpper(level))
	}
	if message := first(fields, "message", "msg"); message != "" {
		parts = append(parts, message)
	}
	if name := first(fields, "name"); name != "" {
		parts = append(parts, strings.TrimPrefix(first(fields, "kind")+"/"+name, "/"))
	}

	var keys []string
	for k := range fields {
		if !slices.Contains(hidden, k) && fields[k] != path.Base(program) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		parts = append(parts, k+"="+value(fields[k]))
	}
	return level, strings.Join(parts, " ")
}

// first is the first of the fields that is there.
func first(fields map[string]any, names ...string) string {
	for _, n := range names {
		if v, ok := fields[n]; ok {
			return fmt.Sprint(v)
		}
	}
	return ""
}

func value(v any) string {
	s, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		s = string(b)
	} else if strings.ContainsAny(s, " \t\n\"") {
		s = fmt.Sprintf("%q", s)
	}
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "") + "..."
	}
	return s
}
