package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// link reaches an address of the cluster with `kubectl port-forward`, which
// works on every cluster. It is opened on first use and again when it broke.
type link struct {
	url     *url.URL
	address string
	stop    func()
}

// answer is what curl got.
type answer struct {
	code int
	body string
	took time.Duration
}

// linkTo makes a link to a URL of the cluster, like
// http://greeter.helloworld.svc.cluster.local/greetings.
func (s *suite) linkTo(address string) (*link, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	for _, l := range s.links {
		if *l.url == *u {
			return l, nil
		}
	}
	l := &link{url: u, stop: func() {}}
	s.links = append(s.links, l)
	return l, nil
}

// linkToAddressable makes a link to the address that a resource announces.
func (s *suite) linkToAddressable(ctx context.Context, ns, resource, name string) (*link, error) {
	var addressable struct {
		Status struct {
			Address duckv1.Addressable `json:"address"`
		} `json:"status"`
	}
	out, err := output(ctx, "", "kubectl", "get", resource, name, "-n", ns, "-o", "json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(out), &addressable); err != nil {
		return nil, err
	}
	if addressable.Status.Address.URL == nil {
		return nil, fmt.Errorf("%s %s has no address", resource, name)
	}
	return s.linkTo(addressable.Status.Address.URL.String())
}

func (s *suite) closeLinks() {
	for _, l := range s.links {
		l.stop()
	}
}

// curl calls a path below the link's URL.
func (l *link) curl(ctx context.Context, path string, args ...string) (*answer, error) {
	if l.address != "" {
		if a, err := l.call(ctx, path, args...); err == nil {
			return a, nil
		}
	}
	// A port-forward ends with the pod that it leads to.
	l.stop()
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	return l.call(ctx, path, args...)
}

// shown is curl with the command printed.
func (l *link) shown(ctx context.Context, path string, args ...string) (*answer, error) {
	show("curl", append([]string{l.url.String() + path}, args...)...)
	a, err := l.curl(ctx, path, args...)
	if err == nil {
		fmt.Printf("    %d %s\n", a.code, strings.TrimSpace(a.body[:min(len(a.body), 200)]))
	}
	return a, err
}

func (l *link) call(ctx context.Context, path string, args ...string) (*answer, error) {
	u := "http://" + l.address + l.url.Path + path
	out, err := output(ctx, "", "curl", append([]string{"-sS", "-m", "60", "-H", "Host: " + l.url.Host,
		"-w", `\n%{http_code} %{time_total}`, u}, args...)...)
	if err != nil {
		return nil, err
	}
	body, last := "", out
	if i := strings.LastIndex(out, "\n"); i >= 0 {
		body, last = out[:i], out[i+1:]
	}
	var a answer
	var seconds float64
	if _, err := fmt.Sscan(last, &a.code, &seconds); err != nil {
		return nil, fmt.Errorf("curl %s: %q: %w", u, last, err)
	}
	a.body, a.took = strings.TrimSpace(body), time.Duration(seconds*float64(time.Second))
	return &a, nil
}

// open starts a port-forward to the Service that serves the link's host.
func (l *link) open(ctx context.Context) error {
	service, ns, err := serviceOf(ctx, l.url.Hostname())
	if err != nil {
		return err
	}
	port := l.url.Port()
	if port == "" {
		port = "80"
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "kubectl", "port-forward", "--address", "127.0.0.1", "-n", ns, "svc/"+service, ":"+port)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return err
	}
	l.stop = func() {
		cancel()
		_ = cmd.Wait() // Killed, so it has nothing to say.
		l.address, l.stop = "", func() {}
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		// Forwarding from 127.0.0.1:40123 -> 8080
		if rest, ok := strings.CutPrefix(lines.Text(), "Forwarding from "); ok {
			l.address, _, _ = strings.Cut(rest, " ")
			// Whatever else it says must not fill the pipe.
			go func() {
				for lines.Scan() {
				}
			}()
			return nil
		}
	}
	l.stop()
	return fmt.Errorf("kubectl port-forward -n %s svc/%s :%s ended", ns, service, port)
}

// serviceOf finds the Service with pods behind a host name of the cluster. That
// of a Knative Service is an alias of the ingress.
func serviceOf(ctx context.Context, host string) (service, ns string, err error) {
	for range 3 {
		parts := strings.Split(host, ".")
		if len(parts) < 3 || parts[2] != "svc" {
			return "", "", fmt.Errorf("%q: expected a name like service.namespace.svc.cluster.local", host)
		}
		service, ns = parts[0], parts[1]
		out, err := output(ctx, "", "kubectl", "get", "service", service, "-n", ns, "-o", "json")
		if err != nil {
			return "", "", err
		}
		var svc corev1.Service
		if err := json.Unmarshal([]byte(out), &svc); err != nil {
			return "", "", err
		}
		if svc.Spec.Type != corev1.ServiceTypeExternalName {
			return service, ns, nil
		}
		host = svc.Spec.ExternalName
	}
	return "", "", errors.New("too many aliases: " + host)
}
