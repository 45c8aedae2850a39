// Package client speaks to the greeter. Its errors say whether to try again: IsConflict and IsInvalid will not get better by
// themselves, IsNotFound is an answer, and everything else is trouble that passes.
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

// DefaultTimeout is how long a request may take if neither the context nor WithHTTPClient says less.
const DefaultTimeout = 30 * time.Second

// maxReason is how much of a refusal, in bytes, is read when it is not what the greeter says.
const maxReason = 4 << 10

// Settings say where the greeter is; a function embeds them in its own.
type Settings struct {
	// URL of the greeter, e.g. http://greeter.helloworld.svc.cluster.local.
	URL string `envconfig:"GREETER_URL" required:"true"`
}

// Client makes a client of that greeter.
func (s Settings) Client() (*Client, error) {
	c, err := New(s.URL)
	if err != nil {
		return nil, fmt.Errorf("GREETER_URL: %w", err)
	}
	return c, nil
}

// A Client of one greeter. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// An Option of New.
type Option func(*Client)

// WithHTTPClient sends requests with c. The default is one that has DefaultTimeout and uses the proxy of the environment.
func WithHTTPClient(c *http.Client) Option {
	return func(client *Client) {
		clone := *c
		client.http = &clone
	}
}

// New returns a client of the greeter at baseURL, e.g. "http://greeter.helloworld.svc.cluster.local".
func New(baseURL string, opts ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("greeter URL: expected http(s)://host[:port][/path], got %q", baseURL)
	}
	c := &Client{base: base, http: &http.Client{Timeout: DefaultTimeout}}
	for _, o := range opts {
		o(c)
	}
	// The greeter never redirects; who does is not the greeter.
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Put creates or updates the greeting with this id and returns what the greeter has then. An error for which IsConflict holds
// means that the greeter has, or had and deleted, the greeting of a newer generation.
func (c *Client) Put(ctx context.Context, id string, r api.PutRequest) (*api.Greeting, error) {
	if err := api.ValidateID(id); err != nil {
		return nil, fmt.Errorf("cannot put greeting: %w", err)
	}
	g := &api.Greeting{}
	if err := c.call(ctx, http.MethodPut, []string{"greetings", id}, nil, r, g); err != nil {
		return nil, fmt.Errorf("cannot put greeting %s: %w", id, err)
	}
	if g.ID != id {
		return nil, fmt.Errorf("cannot put greeting %s: the answer is not the greeting but has id %.150q", id, g.ID)
	}
	return g, nil
}

// Get returns the greeting. IsNotFound holds for the error if there is none.
func (c *Client) Get(ctx context.Context, id string) (*api.Greeting, error) {
	if err := api.ValidateID(id); err != nil {
		return nil, fmt.Errorf("cannot get greeting: %w", err)
	}
	g := &api.Greeting{}
	if err := c.call(ctx, http.MethodGet, []string{"greetings", id}, nil, nil, g); err != nil {
		return nil, fmt.Errorf("cannot get greeting %s: %w", id, err)
	}
	if g.ID != id {
		return nil, fmt.Errorf("cannot get greeting %s: the answer is not the greeting but has id %.150q", id, g.ID)
	}
	return g, nil
}

// Delete makes sure that the greeting is not there; that it was not is no error. With a generation of 1 or more, writes of that
// and of older generations that arrive later are refused, and IsConflict holds for the error if the greeter has a newer one.
// Generation 0 deletes whatever is there.
func (c *Client) Delete(ctx context.Context, id string, generation int64) error {
	if err := api.ValidateID(id); err != nil {
		return fmt.Errorf("cannot delete greeting: %w", err)
	}
	query := url.Values{}
	if generation != 0 {
		query.Set("generation", strconv.FormatInt(generation, 10))
	}
	if err := c.call(ctx, http.MethodDelete, []string{"greetings", id}, query, nil, nil); err != nil {
		return fmt.Errorf("cannot delete greeting %s: %w", id, err)
	}
	return nil
}

// ListOptions say which greetings to list.
type ListOptions struct {
	// Limit is the size of a page, from 1 to api.MaxLimit. 0 leaves it to the greeter (api.DefaultLimit).
	Limit int

	// Continue is what the page before answered, "" for the first page.
	Continue string

	// Managed lists only greetings that belong to a model (true) or only those that do not (false). Nil lists both.
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
	if err := c.call(ctx, http.MethodGet, []string{"greetings"}, query, nil, page); err != nil {
		return nil, fmt.Errorf("cannot list greetings: %w", err)
	}
	// To a synchronizer, a list that is not there and an empty list are the difference between "ask again" and "all are gone".
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

// All lists page by page until there is no more, and holds no more than one page at a time. It ends after the first error, which comes
// with an empty greeting: without an error, and only then, all greetings were seen that were there the whole time.
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
				// Also keeps a greeter that repeats itself from being listed for ever.
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

// StatusError is an answer of the greeter, or of something in front of it, that is not 2xx.
type StatusError struct {
	// StatusCode of the answer.
	StatusCode int

	// Reason in the greeter's words, or the beginning of the body if it is not the greeter's.
	Reason string

	// Foreign is set if the body is not what the greeter writes: something in front of it answered, and a 404, say, means that
	// the greeter was not found, not that it has no such greeting.
	Foreign bool
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

// IsConflict says that the greeter refused a generation that is behind what it has.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

// IsNotFound says that the greeter has no such greeting.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsInvalid says that the greeter will never take this request.
func IsInvalid(err error) bool {
	return hasStatus(err, http.StatusBadRequest) || hasStatus(err, http.StatusRequestEntityTooLarge)
}

func hasStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && !status.Foreign && status.StatusCode == code
}

// call sends in, if it is not nil, and decodes the answer into out, if it is not nil.
func (c *Client) call(ctx context.Context, method string, path []string, query url.Values, in, out any) error {
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
	// Unknown fields are let through, so that a newer greeter can say more.
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("answer: cannot be decoded: %w", err)
	}
	return nil
}

func refusal(resp *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // the status says enough if the reason breaks off
	e := api.Error{}
	if err := json.Unmarshal(raw, &e); err == nil && e.Error != "" {
		return &StatusError{StatusCode: resp.StatusCode, Reason: e.Error}
	}
	reason := fmt.Sprintf("%.256s", strings.Join(strings.Fields(strings.ToValidUTF8(string(raw), "?")), " "))
	return &StatusError{StatusCode: resp.StatusCode, Reason: reason, Foreign: true}
}
