package local_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/broker"
)

const (
	project = "testdata/project"
	// childDir in the environment makes the test binary a runner over that directory, for a test that kills it.
	childDir = "LOCAL_TEST_CHILD_DIR"
)

// bin has the program of the fixtures, built once for all tests.
var bin string

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "local-test-")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		bin = dir
		if err := local.Build(context.Background(), ".", bin, nil, "./testdata/echo"); err != nil {
			fmt.Println(err)
			return 1
		}
		return m.Run()
	}())
}

func runChild(dir string) {
	s, err := local.Start(context.Background(), local.Options{Root: project, Dir: dir, Bin: os.Getenv("LOCAL_TEST_BIN")})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	<-s.Failed()
}

// console collects what is shown to a human.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func start(t *testing.T, o local.Options) *local.System {
	t.Helper()
	o.Bin = bin
	if o.Root == "" {
		o.Root = project
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := local.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return f(), nil })
	if err != nil {
		t.Fatalf("it never happened that %s", what)
	}
}

// told is what the fixture program answers.
type told struct {
	PID     int
	Host    string
	Path    string
	Env     map[string]string
	Args    []string
	Headers map[string]string
	Body    string
}

// do sends a request to the System's address under the name host.
func do(t *testing.T, s *local.System, method, host, path string, header http.Header, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func get(t *testing.T, s *local.System, host, path string) (int, string) {
	t.Helper()
	return do(t, s, http.MethodGet, host, path, nil, "")
}

func asTold(t *testing.T, body string) told {
	t.Helper()
	var got told
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return got
}

// send posts a CloudEvent to a Broker of the fixtures.
func send(t *testing.T, s *local.System, broker, id, kind string, extensions map[string]string) int {
	t.Helper()
	return sendTo(t, s, "/test/"+broker, id, kind, extensions)
}

// sendTo posts a CloudEvent to the Broker with a path.
func sendTo(t *testing.T, s *local.System, path, id, kind string, extensions map[string]string) int {
	t.Helper()
	h := http.Header{}
	for k, v := range map[string]string{"specversion": "1.0", "id": id, "type": kind, "source": "/test"} {
		h.Set("Ce-"+k, v)
	}
	for k, v := range extensions {
		h.Set("Ce-"+k, v)
	}
	h.Set("Content-Type", "application/json")
	status, _ := do(t, s, http.MethodPost, "", path, h, `{"a":1}`)
	return status
}

// kept are the events with an id that the fixture's keeper has got.
func kept(t *testing.T, dir, id string) []told {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "volumes", "test", "keeper", "events", id+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []told
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), ".") {
			continue // It is being written.
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, asTold(t, string(b)))
	}
	return all
}

const (
	inner   = "inner.test.svc.cluster.local"
	outer   = "outer.test.localhost"
	keeper  = "kept.test.svc.cluster.local"
	ingress = "broker-ingress.knative-eventing.svc.cluster.local"
)

// system is a System that several tests look at; to start one for each takes long.
type system struct {
	*local.System
	dir string
	out *output
}

// TestSystem looks at one System from all sides.
func TestSystem(t *testing.T) {
	s := system{dir: t.TempDir(), out: &output{}}
	s.System = start(t, local.Options{Dir: s.dir, Out: s.out, Verbose: true})
	t.Run("Environment", s.testEnvironment)
	t.Run("Routes", s.testRoutes)
	t.Run("Client", s.testClient)
	t.Run("Concurrency", s.testConcurrency)
	t.Run("Ingress", s.testIngress)
	t.Run("Hardening", s.testHardening)
	t.Run("SynchronousBroker", s.testSynchronousBroker)
	t.Run("AsynchronousBroker", s.testAsynchronousBroker)
	t.Run("Reply", s.testReply)
	t.Run("DeadLetter", s.testDeadLetter)
	t.Run("BrokerDown", s.testBrokerDown)
	t.Run("PingSource", s.testPingSource)
	t.Run("DeletionPolicies", s.testDeletionPolicies)
	t.Run("Crash", s.testCrash)
	t.Run("ToZero", s.testToZero)
	t.Run("Console", s.testConsole)
}

func (s system) testEnvironment(t *testing.T) {
	status, body := get(t, s.System, inner, "/x")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	got := asTold(t, body)
	want := map[string]string{
		"GREETING": "hello", "K_SERVICE": "inner", "K_REVISION": "inner-00001", "K_CONFIGURATION": "inner",
		"KUBECONFIG": s.Kubeconfig(), "HTTP_PROXY": s.URL(),
	}
	for k, v := range want {
		if got.Env[k] != v {
			t.Errorf("%s: want %q, got %q", k, v, got.Env[k])
		}
	}
	if diff := cmp.Diff([]string{"--data", filepath.Join(s.dir, "scratch", "test", "inner", "0", "x")}, got.Args); diff != "" {
		t.Errorf("a mount path must become a directory: -want, +got:\n%s", diff)
	}
	if got.Host != inner {
		t.Errorf("a program must see the name that it is called by, got %q", got.Host)
	}
	if b, err := clientcmd.BuildConfigFromFlags("", got.Env["KUBECONFIG"]); err != nil || b.Host != s.Config().Host {
		t.Errorf("the kubeconfig of a program must lead to the API: %v", err)
	}
	_, body = get(t, s.System, keeper, "/x")
	got = asTold(t, body)
	volume := filepath.Join(s.dir, "volumes", "test", "keeper")
	if got.Env["KEEP"] != filepath.Join(volume, "events") || got.Env["POD_NAMESPACE"] != "test" {
		t.Errorf("want values rewritten, got %q and %q", got.Env["KEEP"], got.Env["POD_NAMESPACE"])
	}
	if got.Env["K_SINK"] != "http://"+ingress+"/test/sync" {
		t.Errorf("a SinkBinding must tell its subject the sink, got %q", got.Env["K_SINK"])
	}
}

func (s system) testRoutes(t *testing.T) {
	port := s.URL()[strings.LastIndex(s.URL(), ":"):]
	cases := map[string]struct {
		reason string
		host   string
		path   string
		want   int
		body   string
	}{
		"Public":          {reason: "A public function has a name outside.", host: outer, path: "/", want: 200, body: `"Host":"` + outer},
		"PublicPort":      {reason: "Browsers add the port.", host: outer + port, path: "/", want: 200},
		"PublicInside":    {reason: "It also has one inside.", host: "outer.test.svc.cluster.local", path: "/", want: 200},
		"Short":           {reason: "Inside, names may be shorter.", host: "outer.test", path: "/", want: 200},
		"NotPublic":       {reason: "A cluster-local function has no name outside; the answer says what to do.", host: "inner.test.localhost", path: "/", want: 404, body: "Host: " + inner},
		"Deployment":      {reason: "A Service leads to its Deployment.", host: keeper, path: "/y?status=201", want: 201, body: `"Path":"/y"`},
		"DeploymentPort":  {reason: "Its port may be named.", host: keeper + ":80", path: "/", want: 200},
		"WrongPort":       {reason: "Another port is not served.", host: keeper + ":81", path: "/", want: 502, body: "no port 81"},
		"Unknown":         {reason: "Of an unknown name the known ones are told.", host: "x.test.localhost", path: "/", want: 404, body: keeper},
		"Overview":        {reason: "Who looks in is told what is here.", host: "", path: "/", want: 200, body: "http://outer.test.localhost" + port},
		"CannotStart":     {reason: "A function that does not start says why.", host: "broken.test.localhost", path: "/", want: 503, body: "exit status 3"},
		"ThroughProxy":    {reason: "Programs reach others by their names.", host: outer, path: "/get?url=http://" + inner + "/z", want: 200, body: `"Path":"/z"`},
		"ProxyToOutside":  {reason: "And whatever else is there, directly or through the runner.", host: outer, path: "/get?url=" + s.URL(), want: 200, body: "functions"},
		"ProxyToBroker":   {reason: "Brokers among them, which take only POST.", host: outer, path: "/get?url=http://" + ingress + "/test/sync", want: 405},
		"ProxyToNobody":   {reason: "A name of the cluster that nobody has is answered here, and not asked for again.", host: outer, path: "/get?url=http://nosuch.test.svc.cluster.local/", want: 502, body: "there is no host nosuch.test.svc.cluster.local"},
		"FunctionTimeout": {reason: "A function has timeoutSeconds.", host: inner, path: "/?sleep=10s", want: 504, body: "request timeout"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			status, body := get(t, s.System, tc.host, tc.path)
			if status != tc.want || !strings.Contains(body, tc.body) {
				t.Errorf("\n%s\nwant %d with %q, got %d %s", tc.reason, tc.want, tc.body, status, body)
			}
		})
	}
}

func (s system) testClient(t *testing.T) {
	resp, err := s.Client().Get("http://" + keeper + "/c")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the System's client must reach names of the cluster, got %d", resp.StatusCode)
	}
}

func (s system) testConcurrency(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { get(t, s.System, inner, "/?sleep=50ms") })
	}
	wg.Wait()
	if _, most := get(t, s.System, inner, "/most"); most != "2" {
		t.Errorf("containerConcurrency is 2, but %s requests were in the process at a time", most)
	}
}

func (s system) testIngress(t *testing.T) {
	good := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"none"}, "Ce-Source": {"/s"}}
	without := func(k string) http.Header {
		h := good.Clone()
		h.Del(k)
		return h
	}
	structured := http.Header{"Content-Type": {"application/cloudevents+json"}}
	cases := map[string]struct {
		reason string
		method string
		host   string
		path   string
		header http.Header
		body   string
		want   int
	}{
		"Accepted":     {reason: "An event that nobody wants is taken.", path: "/test/sync", header: good, want: 202},
		"ByName":       {reason: "A Broker has the host that it has on a cluster.", host: ingress, path: "/test/sync", header: good, want: 202},
		"Structured":   {reason: "Both ways to write an event are understood.", path: "/test/sync", header: structured, body: `{"specversion":"1.0","id":"1","type":"none","source":"/s"}`, want: 202},
		"NoEvent":      {reason: "What is no event is malformed.", path: "/test/sync", body: "{}", want: 400},
		"NoID":         {reason: "So is one without what is required.", path: "/test/sync", header: without("Ce-Id"), want: 400},
		"BadJSON":      {reason: "And one that cannot be read.", path: "/test/sync", header: structured, body: `{`, want: 400},
		"Unknown":      {reason: "An unknown Broker is told.", path: "/test/nobody", header: good, want: 404},
		"NoBroker":     {reason: "A path that names none is malformed.", path: "/test", header: good, want: 400},
		"Method":       {reason: "Events are posted.", method: http.MethodPut, path: "/test/sync", header: good, want: 405},
		"Handshake":    {reason: "Webhooks ask first.", method: http.MethodOptions, path: "/test/sync", want: 200},
		"UnknownEmpty": {reason: "The root is no Broker.", path: "/", header: good, want: 404},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			method := tc.method
			if method == "" {
				method = http.MethodPost
			}
			if got, _ := do(t, s.System, method, tc.host, tc.path, tc.header, tc.body); got != tc.want {
				t.Errorf("\n%s\nwant %d, got %d", tc.reason, tc.want, got)
			}
		})
	}
}

// testHardening is about the one address. What can be wrong with an event has a table in package broker.
func (s system) testHardening(t *testing.T) {
	functiontest.Hardening(t, functiontest.Program{
		URL: s.URL(), Code: http.StatusAccepted, MaxBody: broker.MaxEvent, Silent: true, HalfClosed: http.StatusInternalServerError,
		Good: func() *http.Request {
			event := cloudevents.NewEvent()
			event.SetID("1")
			event.SetSource("/test")
			event.SetType("none")
			_ = event.SetData(cloudevents.ApplicationJSON, map[string]int{"a": 1})
			r := functiontest.Request("/test/sync", event)
			r.Host = ingress
			return r
		},
	})
}

func (s system) testSynchronousBroker(t *testing.T) {
	if got := send(t, s.System, "sync", "s1", "good", nil); got != http.StatusAccepted {
		t.Errorf("want 202, got %d", got)
	}
	// The answer comes after the delivery, so there is nothing to wait for.
	events := kept(t, s.dir, "s1")
	if len(events) != 1 {
		t.Fatalf("want one delivery before the answer, got %d", len(events))
	}
	if events[0].Body != `{"a":1}` || events[0].Headers["Ce-Type"] != "good" || events[0].Headers["Ce-Knativebrokerttl"] != "" {
		t.Errorf("an event must arrive as it was sent, got %v %s", events[0].Headers, events[0].Body)
	}
	if got := send(t, s.System, "sync", "s2", "good", map[string]string{"answer": "500"}); got != http.StatusInternalServerError {
		t.Errorf("who sends to a synchronous Broker must learn of a failure, got %d", got)
	}
	if got := len(kept(t, s.dir, "s2")); got != 2 {
		t.Errorf("want the retry that the Broker's delivery says, got %d deliveries", got)
	}
	if got := send(t, s.System, "sync", "s3", "good", map[string]string{"answer": "422"}); got != http.StatusInternalServerError {
		t.Errorf("so must it of a refusal, got %d", got)
	}
	if got := len(kept(t, s.dir, "s3")); got != 1 {
		t.Errorf("422 is not tried again, got %d deliveries", got)
	}
	if got := send(t, s.System, "sync", "s4", "good", map[string]string{"answer": "text"}); got != http.StatusInternalServerError || len(kept(t, s.dir, "s4")) != 2 {
		t.Errorf("a reply that is no event is a failure (502, tried again), got %d after %d deliveries", got, len(kept(t, s.dir, "s4")))
	}
}

func (s system) testAsynchronousBroker(t *testing.T) {
	if got := send(t, s.System, "async", "a1", "any", map[string]string{"answer": "422"}); got != http.StatusAccepted {
		t.Errorf("an asynchronous Broker takes an event whatever becomes of it, got %d", got)
	}
	eventually(t, "the event is delivered", func() bool { return len(kept(t, s.dir, "a1")) == 1 })
}

func (s system) testReply(t *testing.T) {
	if got := send(t, s.System, "sync", "r1", "good", map[string]string{"answer": "event"}); got != http.StatusAccepted {
		t.Fatalf("got %d", got)
	}
	replies := kept(t, s.dir, "r1-reply")
	if len(replies) != 1 || replies[0].Headers["Ce-Type"] != "reply" {
		t.Errorf("a reply must go through the Broker to who wants it, got %v", replies)
	}
}

func (s system) testDeadLetter(t *testing.T) {
	before := s.Program("test", "letters").Requests
	if got := send(t, s.System, "sync", "d1", "dead", map[string]string{"answer": "503"}); got != http.StatusAccepted {
		t.Errorf("an event that became a dead letter is dealt with, got %d", got)
	}
	if got := len(kept(t, s.dir, "d1")); got != 3 {
		t.Errorf("want a try and two retries, as the Trigger's own delivery says, got %d", got)
	}
	if got := s.Program("test", "letters").Requests - before; got != 1 {
		t.Errorf("want one dead letter, got %d", got)
	}
}

func (s system) testBrokerDown(t *testing.T) {
	s.SetBrokerDown(true)
	if got := send(t, s.System, "async", "b1", "any", nil); got != http.StatusServiceUnavailable {
		t.Errorf("want 503 from a Broker that is down, got %d", got)
	}
	s.SetBrokerDown(false)
	if got := send(t, s.System, "async", "b1", "any", nil); got != http.StatusAccepted {
		t.Errorf("want 202 when it is up again, got %d", got)
	}
}

func (s system) testPingSource(t *testing.T) {
	var ticks []told
	eventually(t, "it ticks", func() bool {
		ticks = slices.DeleteFunc(kept(t, s.dir, "*"), func(e told) bool { return e.Headers["Ce-Type"] != "dev.knative.sources.ping" })
		return len(ticks) > 1
	})
	if h := ticks[0].Headers; h["Ce-Source"] != "/apis/v1/namespaces/test/pingsources/tick" || ticks[0].Body != `{"tick": true}` {
		t.Errorf("a tick must look as on a cluster, got %v %s", h, ticks[0].Body)
	}
}

func (s system) testCrash(t *testing.T) {
	_, body := get(t, s.System, outer, "/")
	before := asTold(t, body).PID
	if got := s.Program("test", "outer").PID; got != before {
		t.Errorf("want process %d, got %d", before, got)
	}
	if status, _ := get(t, s.System, outer, "/exit"); status != http.StatusBadGateway {
		t.Errorf("a request whose process dies gets 502, got %d", status)
	}
	eventually(t, "the process is gone", func() bool { return !s.Program("test", "outer").Running() })
	status, body := get(t, s.System, outer, "/")
	if status != http.StatusOK || asTold(t, body).PID == before {
		t.Errorf("the next request must start another process, got %d", status)
	}

	old := s.Program("test", "keeper").PID
	if !s.Kill("test", "keeper") || s.Kill("test", "nobody") {
		t.Error("Kill must report whether there was a process")
	}
	eventually(t, "a Deployment comes back by itself", func() bool {
		status, _ := get(t, s.System, keeper, "/")
		return status == http.StatusOK && s.Program("test", "keeper").PID != old
	})
}

// TestPods lets several processes share the requests of a function.
func TestPods(t *testing.T) {
	s := start(t, local.Options{Pods: 2})
	processes := func(host, name string) int {
		seen := map[int]bool{}
		for range 4 {
			_, body := get(t, s, host, "/")
			seen[asTold(t, body).PID] = true
		}
		if p := s.Program("test", name); len(p.PIDs) != len(seen) || !seen[p.PID] || p.Starts != len(seen) || p.Requests != 4 {
			t.Errorf("%s: expected the stats of %d processes, got %+v", name, len(seen), p)
		}
		return len(seen)
	}
	if n := processes(outer, "outer"); n != 2 {
		t.Errorf("two processes share the requests, got %d", n)
	}
	if n := processes(inner, "inner"); n != 1 {
		t.Errorf("max-scale is 1, but there were %d processes", n)
	}
	if !s.Kill("test", "outer") {
		t.Error("Kill must report that there were processes")
	}
	eventually(t, "all of them are gone", func() bool { return !s.Program("test", "outer").Running() })
}

// TestNetwork gives programs other addresses than those who look at the System from outside.
func TestNetwork(t *testing.T) {
	s := start(t, local.Options{Network: func(address string) (string, error) {
		return strings.Replace(address, "127.0.0.1", "localhost", 1), nil
	}})
	_, body := get(t, s, outer, "/get?url=http://"+inner+"/z")
	got := asTold(t, body)
	if want := strings.Replace(s.URL(), "127.0.0.1", "localhost", 1); got.Env["HTTP_PROXY"] != want || got.Path != "/z" {
		t.Errorf("expected the way to others over %s, got %s; %s", want, got.Env["HTTP_PROXY"], body)
	}
	want := strings.Replace(s.Config().Host, "127.0.0.1", "localhost", 1)
	if c, err := clientcmd.BuildConfigFromFlags("", got.Env["KUBECONFIG"]); err != nil || c.Host != want {
		t.Errorf("expected the API at %s, got %v, %v", want, c, err)
	}
	if c, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig()); err != nil || c.Host != s.Config().Host {
		t.Errorf("users see it where it is: got %v, %v", c, err)
	}
}

func (s system) testToZero(t *testing.T) {
	starts := s.Program("test", "inner").Starts
	eventually(t, "a function is stopped after its window", func() bool { return !s.Program("test", "inner").Running() })
	if got := s.Program("test", "source"); !got.Running() || got.Function {
		t.Errorf("a ContainerSource always runs: %+v", got)
	}
	requests := s.Program("test", "inner").Requests
	if got := s.Program("test", "inner"); got.Starts != starts || got.Requests != requests {
		t.Errorf("nothing may happen to an idle function: %+v", got)
	}
}

// testDeletionPolicies deletes in each of the ways that kubectl delete --cascade has.
func (s system) testDeletionPolicies(t *testing.T) {
	boxes := boxesOf(t, s.dir)
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan, metav1.DeletePropagationBackground} {
		box := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "test.xos-knative.dev/v1", "kind": "Box"}}
		box.SetName("deleted")
		if _, err := boxes.Create(t.Context(), box, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := boxes.Delete(t.Context(), "deleted", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("what is deleted with policy %s is gone", policy), func() bool {
			_, err := boxes.Get(t.Context(), "deleted", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
	}
}

func (s system) testConsole(t *testing.T) {
	for _, want := range []string{
		`here I am msg\r\nfake=line sent=\x1b[31mRED\x1b]0;t\a who=me`, "started in", "idle: back to zero", "ended: exit status 7", "I do not want to start",
		"keeper               ! ended: signal: killed", "ServiceAccount test/echo: accepted", "good: delivery answered 500",
	} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("the console must say %q", want)
		}
	}
	if said := s.out.String(); strings.ContainsAny(said, "\x1b\r\a") || strings.Contains(said, "\nfake") {
		t.Errorf("what a program says must neither control the terminal nor begin a line: %q", said)
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "logs", "test", "inner.log"))
	if err != nil || !bytes.Contains(raw, []byte(`"message":"here I am"`)) {
		t.Errorf("the log file must have lines as they were written: %v", err)
	}
}

// TestKilledRunner kills a whole runner; the next one over its directory has everything that it had, and nothing of it
// runs any more.
func TestKilledRunner(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, "LOCAL_TEST_BIN="+bin)
	pipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if !strings.HasPrefix(line, "http://") {
		t.Fatalf("the child says %q, %v", line, err)
	}

	if _, err := local.Start(t.Context(), local.Options{Root: project, Bin: bin, Dir: dir}); err == nil ||
		!strings.Contains(err.Error(), "another runner (process "+strconv.Itoa(child.Process.Pid)+")") {
		t.Errorf("a second runner over one directory must be refused, got %v", err)
	}

	boxes := boxesOf(t, dir)
	box := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "test.xos-knative.dev/v1", "kind": "Box", "metadata": map[string]any{"name": "b"}, "spec": map[string]any{},
	}}
	if _, err := boxes.Create(t.Context(), box, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	keeperPID := pidOf(t, dir, "test/keeper")

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	eventually(t, "the programs of a killed runner are gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", keeperPID))
		return syscall.Kill(keeperPID, 0) != nil || err == nil && strings.Contains(string(stat), ") Z ")
	})

	s := start(t, local.Options{Dir: dir})
	if _, err := boxes.Get(t.Context(), "b", metav1.GetOptions{}); err != nil {
		t.Errorf("objects must be there again, under the same kubeconfig: %v", err)
	}
	if status, _ := get(t, s, keeper, "/"); status != http.StatusOK {
		t.Errorf("everything must run again, got %d", status)
	}
}

// boxesOf reaches the objects of the System over dir by its kubeconfig.
func boxesOf(t *testing.T, dir string) dynamic.ResourceInterface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return api.Resource(schema.GroupVersionResource{Group: "test.xos-knative.dev", Version: "v1", Resource: "boxes"}).Namespace("test")
}

// pidOf is the process of a program by its pid file.
func pidOf(t *testing.T, dir, program string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pids", program))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// startFails expects that a System does not start, for a reason.
func startFails(t *testing.T, reason string, o local.Options, want string) {
	t.Helper()
	s, err := local.Start(t.Context(), o)
	if err == nil {
		_ = s.Stop()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("\n%s\nwant an error with %q, got %v", reason, want, err)
	}
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	bad := t.TempDir()
	if err := os.Mkdir(filepath.Join(bad, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "config", "job.yaml"), []byte("apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	cases := map[string]struct {
		reason string
		o      local.Options
		want   string
	}{
		"PortTaken": {reason: "A taken port is named, with what to do.", o: local.Options{Bin: bin, Port: port}, want: fmt.Sprintf("port %d is taken by another program", port)},
		"Refused":   {reason: "A file that cannot be honoured is named.", o: local.Options{Bin: bin, Add: []string{bad}}, want: filepath.Join(bad, "config", "job.yaml")},
		"NoProgram": {reason: "So is a program that was not built.", o: local.Options{Bin: t.TempDir()}, want: "testdata/echo is missing"},
		"Without":   {reason: "Only what is there can be left out.", o: local.Options{Bin: bin, Without: []string{"trigger/x"}}, want: `"trigger/x"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.o.Root, tc.o.Dir = project, t.TempDir()
			startFails(t, tc.reason, tc.o, tc.want)
		})
	}
}

// TestOneAfterTheOther stops a System while a delivery is being tried again: nothing of it goes on, and the next one does
// not get the delivery.
func TestOneAfterTheOther(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	s := start(t, local.Options{Dir: first})
	startFails(t, "A second System in one process would get the first one's events.",
		local.Options{Root: project, Bin: bin, Dir: second}, "only one local system in a process")
	send(t, s, "async", "late", "any", map[string]string{"answer": "503"})
	eventually(t, "it is being delivered", func() bool { return len(kept(t, first, "late")) > 0 })
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Programs() {
		if p.Running() {
			t.Errorf("%s still runs after Stop", p.Name)
		}
	}
	tries := len(kept(t, first, "late"))
	start(t, local.Options{Dir: second})
	// Ten retries with growing waits go on for minutes; some ticks take longer than the first of them.
	eventually(t, "some seconds are over", func() bool { return len(kept(t, second, "*")) > 3 })
	if got := len(kept(t, second, "late")); got != 0 || len(kept(t, first, "late")) != tries {
		t.Errorf("a delivery must end with its System, got %d more", got)
	}
}

// TestBuild runs without programs made beforehand, also a synchronizer that is a module of its own.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	s, err := local.Start(t.Context(), local.Options{Root: project, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	}()
	if _, err := os.Stat(filepath.Join(dir, "bin", "pkg", "local", "testdata", "echo")); err != nil {
		t.Errorf("the program must be built: %v", err)
	}
	if status, _ := get(t, s, outer, "/"); status != http.StatusOK {
		t.Errorf("and it must run, got %d", status)
	}
	if err := s.Add(t.Context(), elsewhere(t)); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, s, "d.elsewhere.svc.cluster.local", "/"); status != http.StatusNotFound || !strings.Contains(body, "404 page not found") {
		t.Errorf("a program of another module must be built and answer, got %d %s", status, body)
	}
}

func TestBuildFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	service := "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: s, namespace: test}\n" +
		"spec: {template: {spec: {containers: [{image: 'ko://github.com/xos-knative/synchronizer/pkg/local/testdata/nothing'}]}}}\n"
	if err := os.WriteFile(filepath.Join(dir, "config", "s.yaml"), []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := local.Start(t.Context(), local.Options{Root: project, Dir: t.TempDir(), Add: []string{dir}})
	if err == nil || !strings.Contains(err.Error(), "cannot build the programs") || !strings.Contains(err.Error(), "testdata/nothing") {
		t.Errorf("what the compiler says must be told, got %v", err)
	}
}

// elsewhere makes a synchronizer that is a module of its own.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir := synchronizer(t, "elsewhere", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: elsewhere, labels: {app: d}}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: d, image: "ko://example.com/elsewhere/d"}]}
---
apiVersion: v1
kind: Service
metadata: {name: d, namespace: elsewhere}
spec: {selector: {app: d}, ports: [{port: 80}]}
`, "")
	for file, content := range map[string]string{
		"go.mod": "module example.com/elsewhere\n\ngo 1.26\n",
		"d/main.go": "package main\n\nimport (\n\t\"net/http\"\n\t\"os\"\n)\n\n" +
			"func main() { _ = http.ListenAndServe(\"127.0.0.1:\"+os.Getenv(\"PORT\"), nil) }\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
