package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// network stands between all programs: everything that they send to each other and to Brokers passes the first of its
// two proxies, a proxy for HTTP, and everything that they send to the API the second one, which passes bytes on.
type network struct {
	failing atomic.Bool
	faults  *tally
	delay   time.Duration // how late a request or its copy arrives at most

	mu    sync.Mutex // protects following
	rng   *rand.Rand
	conns map[net.Conn]bool // to the API
	known int               // addresses
}

// What can happen to a request, in percent.
const (
	percentLost     = 1 // It does not arrive.
	percentUnheard  = 1 // It arrives, but its answer does not.
	percentCut      = 1 // Its connection ends while it is worked on.
	percentDelayed  = 2 // It arrives late.
	percentDoubled  = 2 // It arrives twice at the same time.
	percentRepeated = 2 // It arrives once more, when others may have gone on.

	percentRepeatedWrite = 20 // The same of what changes something in the greeter.
)

// maxDelay is how late a request or its copy arrives at most.
const maxDelay = 8 * time.Second

func newNetwork(seed uint64, delay time.Duration, faults *tally) *network {
	return &network{faults: faults, delay: delay, rng: rand.New(rand.NewPCG(seed, 1)), conns: map[net.Conn]bool{}}
}

// between implements local.Options.Network.
func (n *network) between(address string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.known++
	if n.known == 1 {
		system := &url.URL{Scheme: "http", Host: address}
		transport := &http.Transport{Proxy: http.ProxyURL(system), MaxIdleConnsPerHost: 64}
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.serve(w, r, system, transport) }))
		}()
		return l.Addr().String(), nil
	}
	go n.accept(l, address)
	return l.Addr().String(), nil
}

func (n *network) percent() int { n.mu.Lock(); defer n.mu.Unlock(); return n.rng.IntN(100) }

func (n *network) upTo(d time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.rng.Int64N(int64(d)))
}

// serve passes a request on, or does not.
func (n *network) serve(w http.ResponseWriter, r *http.Request, system *url.URL, transport http.RoundTripper) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	send := func(ctx context.Context) (*http.Response, error) {
		out := r.Clone(ctx)
		out.RequestURI, out.Body, out.ContentLength = "", io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if out.URL.Host == "" { // It was sent to the address itself.
			out.URL.Scheme, out.URL.Host = "http", system.Host
		}
		return transport.RoundTrip(out)
	}
	ctx := r.Context()
	if n.failing.Load() && !inside(r.Host) {
		ctx = n.fault(ctx, r.Method, send)
	}
	resp, err := send(ctx)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if ctx.Value(unheard{}) != nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// inside reports whether a host is part of a Broker. An event has these hops, too: with faults at each of them hardly any
// would get through, and functions would have little to do.
func inside(host string) bool {
	return strings.Contains(host, "-kn-channel.") || strings.HasPrefix(host, "broker-filter.")
}

// unheard marks the context of a request whose answer is lost.
type unheard struct{}

// fault may do something to a request. It panics if the request does not arrive.
func (n *network) fault(ctx context.Context, method string, send func(context.Context) (*http.Response, error)) context.Context {
	copied := func(after time.Duration) {
		time.Sleep(after)
		if resp, err := send(context.WithoutCancel(ctx)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	drawn := n.percent()
	hits := func(percent int, fault string) bool {
		hit := drawn >= 0 && drawn < percent
		if drawn -= percent; hit {
			n.faults.add(fault)
		}
		return hit
	}
	switch {
	case hits(percentLost, "request lost"):
		panic(http.ErrAbortHandler)
	case hits(percentUnheard, "answer lost"):
		return context.WithValue(ctx, unheard{}, true)
	case hits(percentCut, "connection cut"):
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		time.AfterFunc(n.upTo(200*time.Millisecond), cancel)
	case hits(percentDelayed, "request late"):
		select {
		case <-time.After(n.upTo(n.delay)):
		case <-ctx.Done():
		}
		ctx = context.WithoutCancel(ctx) // It arrives also if its sender has given up.
	case hits(percentDoubled, "request doubled"):
		go copied(0)
	case hits(percentRepeated, "request repeated late"),
		(method == http.MethodPut || method == http.MethodDelete) && hits(percentRepeatedWrite, "request repeated late"):
		go copied(n.upTo(n.delay))
	}
	return ctx
}

// accept passes connections on to the API, but for some.
func (n *network) accept(l net.Listener, address string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		if n.failing.Load() && n.percent() < 5 {
			n.faults.add("API connection refused")
			_ = in.Close()
			continue
		}
		out, err := net.Dial("tcp", address)
		if err != nil {
			_ = in.Close()
			continue
		}
		n.mu.Lock()
		n.conns[in] = true
		n.mu.Unlock()
		end := sync.OnceFunc(func() {
			n.mu.Lock()
			delete(n.conns, in)
			n.mu.Unlock()
			_ = in.Close()
			_ = out.Close()
		})
		go n.pipe(out, in, end)
		go n.pipe(in, out, end)
	}
}

// pipe copies one direction of a connection, and sometimes takes its time.
func (n *network) pipe(to io.Writer, from io.Reader, end func()) {
	defer end()
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		if n.failing.Load() && n.percent() < 1 {
			n.faults.add("API answer or request late")
			time.Sleep(n.upTo(n.delay / 8))
		}
		if _, failed := to.Write(buffer[:count]); err != nil || failed != nil {
			return
		}
	}
}

// cut ends one of the connections to the API.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
		n.faults.add("API connection cut")
		return
	}
}

// run cuts connections to the API now and then, until ctx ends.
func (n *network) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.upTo(3 * time.Second)):
			n.cut()
		}
	}
}
