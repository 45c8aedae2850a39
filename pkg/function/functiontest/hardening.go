package functiontest

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/xos-knative/synchronizer/pkg/function"
)

// Program is one that listens.
type Program struct {
	// Handler is served as function.Main does it.
	Handler http.Handler
	// URL is of a program that is served already. Then Handler is nil, and no limit of time is reached.
	URL string
	// Good makes a request with a body that the program takes, to a URL that is a path only.
	Good func() *http.Request
	// Code answers a good request. Default: 200.
	Code int
	// Unread answers a method that nobody handles. Default: 405.
	Unread int
	// MaxBody is how large a body may be, in bytes. Default (0): bodies are not read, and what is wrong with
	// one is answered as a good one is.
	MaxBody int64
	// HalfClosed answers who closes its side of the connection after a good request. net/http cannot tell
	// that from a client that is gone, so a program that then stops has no better answer than 408. Default:
	// Code.
	HalfClosed int
	// Lines: an answer has a line for each thing that is wrong.
	Lines bool
	// Silent: an answer that says no has no reason.
	Silent bool
}

// Row is a request and its answer.
type Row struct {
	// Reason says in a sentence why the answer is this one.
	Reason string
	// Change makes the request of a good one.
	Change func(*http.Request)
	Code   int
	// Says are parts of the text of the answer.
	Says []string
}

// patience is how long a test waits for an answer.
const patience = 30 * time.Second

// Hardening sends everything to the program that a client can do wrong: the rows that every program
// shares, about HTTP itself, and its own. Every request has its answer, the program goes on, and its memory
// stays bounded: after each row a good request is answered.
func Hardening(t *testing.T, p Program, tables ...map[string]Row) {
	p.Code, p.Unread = cmp.Or(p.Code, http.StatusOK), cmp.Or(p.Unread, http.StatusMethodNotAllowed)
	p.HalfClosed = cmp.Or(p.HalfClosed, p.Code)
	if p.Handler != nil {
		p.URL = Serve(t, p.Handler)
	}
	for _, table := range tables {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			t.Run(name, func(t *testing.T) { p.row(t, table[name]) })
		}
	}
	t.Run("HTTP", p.http)
	t.Run("EndlessBody", p.endless)
	t.Run("Idle", p.idle)
	if p.Handler != nil {
		t.Run("Slow", p.slow)
	}
}

func (p Program) row(t *testing.T, row Row) {
	r := p.Good()
	row.Change(r)
	code, header, text := p.do(t, r)
	if code != row.Code {
		t.Errorf("%s\nwant %d, got %d %q", row.Reason, row.Code, code, text)
	}
	for _, part := range row.Says {
		if !p.Silent && !strings.Contains(text, part) {
			t.Errorf("%s\nthe answer must say %q, got %q", row.Reason, part, text)
		}
	}
	if row.Code >= 400 && r.Method != http.MethodHead {
		p.checkReason(t, text)
	}
	if row.Code == http.StatusMethodNotAllowed && header.Get("Allow") == "" {
		t.Errorf("%s\nthe answer must say what is allowed", row.Reason)
	}
	p.good(t)
}

// checkReason is about the text of an answer that says no.
func (p Program) checkReason(t *testing.T, text string) {
	t.Helper()
	if p.Silent && text == "" {
		return
	}
	if line := strings.TrimSuffix(text, "\n"); line == "" || strings.Contains(line, "\n") && !p.Lines || !utf8.ValidString(text) || len(text) > 2048 {
		t.Errorf("want a reason of one line, got %q", text)
	}
}

// good checks that the program goes on.
func (p Program) good(t *testing.T) {
	t.Helper()
	if code, _, text := p.do(t, p.Good()); code != p.Code {
		t.Fatalf("a good request after a bad one: want %d, got %d %q", p.Code, code, text)
	}
}

func (p Program) do(t *testing.T, r *http.Request) (code int, header http.Header, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	base, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	// Not resolved: that would clean the path.
	r.URL.Scheme, r.URL.Host = base.Scheme, base.Host
	resp, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(raw)
}

// rawRow is a request that no HTTP client would make.
type rawRow struct {
	reason string
	// send is what is sent; the connection stays open for more, or is half closed.
	send   string
	closes bool
	code   int
}

// http has what net/http answers, and what a body can be that does not come as it should.
func (p Program) http(t *testing.T) {
	broken, large := http.StatusBadRequest, http.StatusRequestEntityTooLarge
	if p.MaxBody == 0 {
		broken, large = p.Code, p.Code
	}
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	never := p.Good()
	never.Method = http.MethodPatch
	rows := map[string]rawRow{
		"NotHTTP":        {"What is not HTTP is told so.", "\x16\x03\x01\x02\r\n\r\n", false, 400},
		"OtherVersion":   {"So is what is HTTP of another time.", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", false, 505},
		"NoHost":         {"A request has a host.", "GET / HTTP/1.1\r\n\r\n", false, 400},
		"TwoLengths":     {"It has one length.", get + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", false, 400},
		"NegativeLength": {"Which is a number.", get + "Content-Length: -1\r\n\r\n", false, 400},
		"HugeLength":     {"And not beyond all bounds.", get + "Content-Length: 99999999999999999999\r\n\r\n", false, 400},
		"OtherEncoding":  {"A transfer encoding that nobody knows (RFC 9112, 6.1).", get + "Transfer-Encoding: gzip\r\n\r\n", false, 501},
		"SpaceInName":    {"Names of headers have no spaces.", get + "ce-id : 1\r\n\r\n", false, 400},
		"NUL":            {"Their values have no control characters.", get + "ce-id: a\x00b\r\n\r\n", false, 400},
		"LargeHeader":    {"The header is bounded.", get + "ce-a: " + strings.Repeat("x", function.MaxHeader+8<<10), false, 431},
		"ManyHeaders":    {"In whatever way it is large.", get + strings.Repeat("ce-a: x\r\n", function.MaxHeader/8), false, 431},
		"Expectation":    {"Nobody meets an expectation that nobody knows.", get + "Expect: much\r\n\r\n", false, 417},
		"LargeLength":    {"Nobody waits for a body that is too large.", head(p.Good(), fmt.Sprintf("Content-Length: %d", max(p.MaxBody, 1)+1)), false, large},
		"BadChunk":       {"A chunk has a length.", head(p.Good(), "Transfer-Encoding: chunked") + "zz\r\n", false, broken},
		"CutBody":        {"A body that ends too early is no body.", head(p.Good(), "Content-Length: 10") + "12345", true, broken},
		"CutChunk":       {"In chunks neither.", head(p.Good(), "Transfer-Encoding: chunked") + "a\r\n12345", true, broken},
		"HalfClosed":     {"Who has sent all of it can close its side and still gets the answer.", all(t, p.Good()), true, p.HalfClosed},
		"NeverSent":      {"Who is refused by the header alone need not send a body.", head(never, "Content-Length: 1000"), false, p.Unread},
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		t.Run(name, func(t *testing.T) {
			row := rows[name]
			c := p.dial(t)
			c.send(row.send)
			if row.closes {
				c.half()
			}
			if code, text := c.answer(); code != row.code {
				t.Errorf("%s\nwant %d, got %d %q", row.reason, row.code, code, text)
			} else if code >= 400 && code != http.StatusExpectationFailed { // Which net/http does not explain.
				p.checkReason(t, text)
			}
			p.good(t)
		})
	}
}

// endless sends a body without an end. It is not read any further than it may be large.
func (p Program) endless(t *testing.T) {
	want := http.StatusRequestEntityTooLarge
	if p.MaxBody == 0 {
		want = p.Code
	}
	c := p.dial(t)
	c.send(head(p.Good(), "Transfer-Encoding: chunked"))
	chunk := fmt.Sprintf("10000\r\n%s\r\n", strings.Repeat(" ", 0x10000))
	sent := make(chan int64)
	go func() {
		total := int64(0)
		defer func() { sent <- total }()
		for {
			n, err := io.WriteString(c.Conn, chunk)
			if total += int64(n); err != nil {
				return
			}
		}
	}()
	code, text := c.answer()
	_ = c.Close()
	// Beside what the program reads there are the buffers of two sockets.
	if n, most := <-sent, p.MaxBody+64<<20; code != want || n > most {
		t.Errorf("want %d after at most %d bytes, got %d %q after %d", want, most, code, text, n)
	}
	p.good(t)
}

const (
	// idlers is how many connections do nothing.
	idlers = 2000
	// perConnection is how much memory one of them may take, on both of its sides.
	perConnection = 64 << 10
)

// idle opens connections that do nothing, half of them in the middle of a request.
func (p Program) idle(t *testing.T) {
	p.good(t)
	before := memory()
	begun := head(p.Good(), "Content-Length: 10")
	for i := range idlers {
		if c := p.dial(t); i%2 == 0 {
			c.send(begun[:len(begun)-2])
		}
	}
	p.good(t)
	if grown := memory() - before; grown > idlers*perConnection {
		t.Errorf("%d idle connections: want at most %d bytes for each, got %d", idlers, perConnection, grown/idlers)
	}
}

func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// slow sends requests that take too long.
func (p Program) slow(t *testing.T) {
	limits := function.Limits{Header: 500 * time.Millisecond, Request: time.Second}
	want := http.StatusRequestTimeout
	if p.MaxBody == 0 {
		want = p.Code
	}
	p.URL = serve(t, p.Handler, limits)
	header := p.dial(t)
	header.send("POST / HTTP/1.1\r\nHost: x\r\nce-id:")
	p.untilAnswered(t, "a body that does not come", head(p.Good(), "Content-Length: 10")+"12345", want)
	if rest, err := io.ReadAll(header.Conn); err != nil || len(rest) > 0 {
		t.Errorf("a header that does not come ends the connection: got %q, %v", rest, err)
	}
	p.untilAnswered(t, "a good request after slow ones", all(t, p.Good()), p.Code)
}

// untilAnswered sends until this code is the answer: on a busy machine anything may take too long.
func (p Program) untilAnswered(t *testing.T, what, send string, want int) {
	t.Helper()
	code, text := 0, ""
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		c := p.dial(t)
		c.send(send)
		code, text = c.answer()
		return code == want, nil
	})
	if err != nil {
		t.Errorf("%s: want %d, got %d %q", what, want, code, text)
	}
}

// connection is one to a program.
type connection struct {
	net.Conn
	t *testing.T
}

func (p Program) dial(t *testing.T) connection {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return connection{conn, t}
}

// send ignores an error: a program may have answered and closed before it has read all.
func (c connection) send(text string) { _, _ = io.WriteString(c.Conn, text) }

func (c connection) half() { _ = c.Conn.(*net.TCPConn).CloseWrite() }

// answer returns the code 0 if there is none.
func (c connection) answer() (code int, text string) {
	resp, err := http.ReadResponse(bufio.NewReader(c.Conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw)
}

// head is the header of the request as it is sent, with another line about the length of the body.
func head(r *http.Request, length string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", r.Method, r.URL.RequestURI(), cmp.Or(r.Host, "x"), length)
	_ = r.Header.Write(&b) // A Builder takes everything.
	return b.String() + "\r\n"
}

// all is the request as it is sent.
func all(t *testing.T, r *http.Request) string {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return head(r, fmt.Sprintf("Content-Length: %d", len(raw))) + string(raw)
}
