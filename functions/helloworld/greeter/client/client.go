// Package client calls the greeter. Its errors say whether to try again: [IsConflict] and [IsInvalid]
// stay, [IsNotFound] is an answer, and all others can pass.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/xos-knative/synchronizer/functions/helloworld/greeter/api"
)

// DefaultTimeout is how long a request may take. The context, or [WithHTTPClient], can set less.
const DefaultTimeout = 30 * time.Second

// maxReason is how much of the body of a refusal is read, in bytes.
const maxReason = 4 << 10

// Settings say where the greeter is. A function has them among its own settings.
type Settings struct {
	// URL of the greeter, e.g. http://greeter.helloworld.svc.cluster.local.
	URL string `envconfig:"GREETER_URL" required:"true"`
}

// Client makes a client of the greeter.
func (s Settings) Client() (*Client, error) {
	c, err := New(s.URL)
	if err != nil {
		return nil, fmt.Errorf("GREETER_URL: %w", err)
	}
	return c, nil
}

// connections is how many connections are kept: as many as a function has requests at the same time (containerConcurrency).
const connections = 16

// Client calls one greeter. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// Option is an option of [New].
type Option func(*Client)

// WithHTTPClient sends the requests with c. Default: a client with [DefaultTimeout] that uses the
// proxy of the environment.
func WithHTTPClient(c *http.Client) Option {
	return func(client *Client) {
		clone := *c
		client.http = &clone
	}
}

// New makes a client of the greeter at baseURL, e.g. "http://greeter.helloworld.svc.cluster.local".
func New(baseURL string, opts ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("greeter URL: expected http(s)://host[:port][/path], got %q", baseURL)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	c := &Client{base: base, http: &http.Client{Timeout: DefaultTimeout, Transport: transport}}
	for _, o := range opts {
		o(c)
	}
	// The greeter never redirects: a redirect comes from something else.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// WriteOption is an option of a write.
type WriteOption func(*write)

type write struct {
	isNewest func(context.Context) (bool, error)
	ifMatch  string
}

// IfNewest is for a greeter that is ahead of the models because they were restored from a backup. When
// the greeter refuses the write because it has a newer generation, isNewest is called. It reads the model
// again, and reports whether that is still of the generation of the write. If so, the write replaces what
// the greeter has, unless somebody else has changed that since the refusal. A late writer gets a Conflict
// as ever: it finds a newer model.
func IfNewest(isNewest func(context.Context) (bool, error)) WriteOption {
	return func(w *write) { w.isNewest = isNewest }
}

// write does a write, a second time if its options say so.
func (c *Client) write(ctx context.Context, opts []WriteOption, do func(write) error) error {
	w := write{}
	for _, o := range opts {
		o(&w)
	}
	err := do(w)
	var refused *StatusError
	if w.isNewest == nil || !IsConflict(err) || !errors.As(err, &refused) || refused.etag == "" {
		return err
	}
	newest, readErr := w.isNewest(ctx)
	if readErr != nil {
		return fmt.Errorf("%w; and the model cannot be read again: %w", err, readErr)
	}
	if !newest {
		return err
	}
	w.ifMatch = refused.etag
	return do(w)
}

// Put creates or updates the greeting with this id and returns what the greeter has then. [IsConflict]
// is true for the error if the greeter has, or has deleted, a newer generation of the greeting.
func (c *Client) Put(ctx context.Context, id string, r api.PutRequest, opts ...WriteOption) (g *api.Greeting, err error) {
	err = c.write(ctx, opts, func(w write) (err error) {
		g, err = c.greeting(ctx, "put", http.MethodPut, id, w, r)
		return err
	})
	return g, err
}

// Get returns the greeting. [IsNotFound] is true for the error if there is none.
func (c *Client) Get(ctx context.Context, id string) (*api.Greeting, error) {
	return c.greeting(ctx, "get", http.MethodGet, id, write{}, nil)
}

// Find is [Client.Get], but nil if there is no such greeting.
func (c *Client) Find(ctx context.Context, id string) (*api.Greeting, error) {
	g, err := c.Get(ctx, id)
	if IsNotFound(err) {
		return nil, nil
	}
	return g, err
}

// greeting makes a call that is answered with a greeting.
func (c *Client) greeting(ctx context.Context, verb, method, id string, w write, in any) (*api.Greeting, error) {
	if err := api.ValidateID(id); err != nil {
		return nil, fmt.Errorf("cannot %s greeting: %w", verb, err)
	}
	g := &api.Greeting{}
	if err := c.call(ctx, method, []string{"greetings", id}, nil, w, in, g); err != nil {
		return nil, fmt.Errorf("cannot %s greeting %s: %w", verb, id, err)
	}
	if g.ID != id {
		return nil, fmt.Errorf("cannot %s greeting %s: the answer is not the greeting but has id %.150q", verb, id, g.ID)
	}
	return g, nil
}

// Delete deletes the greeting, if there is one. After a deletion with a generation of 1 or more the
// greeter refuses late writes of that generation and of older ones; [IsConflict] is true for the
// error if it has a newer one. Generation 0 deletes whatever is there.
func (c *Client) Delete(ctx context.Context, id string, generation int64, opts ...WriteOption) error {
	if err := api.ValidateID(id); err != nil {
		return fmt.Errorf("cannot delete greeting: %w", err)
	}
	query := url.Values{}
	if generation != 0 {
		query.Set("generation", strconv.FormatInt(generation, 10))
	}
	return c.write(ctx, opts, func(w write) error {
		if err := c.call(ctx, http.MethodDelete, []string{"greetings", id}, query, w, nil, nil); err != nil {
			return fmt.Errorf("cannot delete greeting %s: %w", id, err)
		}
		return nil
	})
}

// ListOptions say which greetings to list.
type ListOptions struct {
	// Limit is the size of a page, from 1 to [api.MaxLimit]. Default: [api.DefaultLimit].
	Limit int

	// Continue is from the page before. Default: the first page.
	Continue string

	// Managed lists only greetings that belong to a model (true), or only others (false). Default:
	// all.
	Managed *bool
}

// List returns one page, in the order of ids.
func (c *Client) List(ctx context.Context, o ListOptions) (*api.GreetingList, error) {
	query := url.Values{}
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Continue != "" {
		query.Set("continue", o.Continue)
	}
	if o.Managed != nil {
		query.Set("managed", strconv.FormatBool(*o.Managed))
	}
	page := &api.GreetingList{}
	if err := c.call(ctx, http.MethodGet, []string{"greetings"}, query, write{}, nil, page); err != nil {
		return nil, fmt.Errorf("cannot list greetings: %w", err)
	}
	// An empty list means that all greetings are gone; an answer without a list must not.
	if page.Items == nil {
		return nil, errors.New("cannot list greetings: items: expected a list in the answer, got none")
	}
	for i, g := range page.Items {
		if err := api.ValidateID(g.ID); err != nil {
			return nil, fmt.Errorf("cannot list greetings: items[%d].%w", i, err)
		}
	}
	return page, nil
}

// All lists all greetings, page by page, with one page in memory. It ends after the first error, which
// comes with an empty greeting. If there is no error, each greeting that was there the whole time was
// listed.
func (c *Client) All(ctx context.Context, o ListOptions) iter.Seq2[api.Greeting, error] {
	return func(yield func(api.Greeting, error) bool) {
		last := ""
		for {
			page, err := c.List(ctx, o)
			if err != nil {
				yield(api.Greeting{}, err)
				return
			}
			for _, g := range page.Items {
				// This also ends the list of a greeter that sends the same pages again and again.
				if g.ID <= last {
					yield(api.Greeting{}, fmt.Errorf("cannot list greetings: expected them in the order of ids, got %s after %s", g.ID, last))
					return
				}
				last = g.ID
				if !yield(g, nil) {
					return
				}
			}
			if page.Continue == "" {
				return
			}
			if page.Continue == o.Continue || len(page.Items) == 0 {
				yield(api.Greeting{}, errors.New("cannot list greetings: continue: the next page starts where this one does"))
				return
			}
			o.Continue = page.Continue
		}
	}
}

// Greetings is [Client.All] without options.
func (c *Client) Greetings(ctx context.Context) iter.Seq2[api.Greeting, error] {
	return c.All(ctx, ListOptions{})
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	// StatusCode of the answer.
	StatusCode int

	// Reason is the greeter's error, or the beginning of a foreign body.
	Reason string

	// Foreign is set if something in front of the greeter answered. Its 404, for example, does not
	// mean that the greeter has no such greeting.
	Foreign bool

	// etag names what has refused a write.
	etag string
}

func (e *StatusError) Error() string {
	text := http.StatusText(e.StatusCode)
	who := "the greeter"
	if e.Foreign {
		who = "something that is not the greeter"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s answered %d %s", who, e.StatusCode, text)
	}
	return fmt.Sprintf("%s answered %d %s: %s", who, e.StatusCode, text, e.Reason)
}

// IsConflict reports whether the greeter has a newer generation than the request.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

// IsNotFound reports whether the greeter has no such greeting.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsInvalid reports whether the greeter will never accept the request.
func IsInvalid(err error) bool {
	return hasStatus(err, http.StatusBadRequest) || hasStatus(err, http.StatusRequestEntityTooLarge)
}

func hasStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && !status.Foreign && status.StatusCode == code
}

// call sends a request with in as its body and decodes the answer into out. Both can be nil.
func (c *Client) call(ctx context.Context, method string, path []string, query url.Values, w write, in, out any) error {
	u := c.base.JoinPath(path...)
	u.RawQuery = query.Encode()
	body := io.Reader(http.NoBody)
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if w.ifMatch != "" {
		req.Header.Set("If-Match", w.ifMatch)
	}

	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	if out == nil {
		return nil
	}
	return answer(resp, out)
}

func answer(resp *http.Response, out any) error {
	contentType := resp.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(contentType); err != nil || mediaType != "application/json" {
		return fmt.Errorf("answer: expected Content-Type application/json, got %.100q", contentType)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxPage+1))
	if err != nil {
		return fmt.Errorf("answer: cannot be read: %w", err)
	}
	if len(raw) > api.MaxPage {
		return fmt.Errorf("answer: expected at most %d bytes", api.MaxPage)
	}
	// Unknown fields are ignored, so that a newer greeter can have more.
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("answer: cannot be decoded: %w", err)
	}
	return nil
}

func refusal(resp *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // A part of the reason is better than none.
	e := api.Error{}
	if err := json.Unmarshal(raw, &e); err == nil && e.Error != "" {
		return &StatusError{StatusCode: resp.StatusCode, Reason: e.Error, etag: resp.Header.Get("ETag")}
	}
	reason := fmt.Sprintf("%.256s", strings.Join(strings.Fields(strings.ToValidUTF8(string(raw), "?")), " "))
	return &StatusError{StatusCode: resp.StatusCode, Reason: reason, Foreign: true}
}
