package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
)

// controller is the address of the micro-service:
//
//	POST   /devices/{id}  activates a device: 202; or does nothing if that is under way or done: 200
//	DELETE /devices/{id}  deactivates it; 404 if it is not known
//	GET    /devices       lists all
type controller string

// item is a device, as the controller knows it.
type item struct {
	ID           string `json:"id"`
	SerialNumber string `json:"serialNumber"`
	Generation   int64  `json:"generation"`
	State        string `json:"state,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// activate reports whether the activation has begun just now.
func (c controller) activate(ctx context.Context, i item) (begun bool, err error) {
	code, err := c.call(ctx, http.MethodPost, i.ID, i, nil)
	return code == http.StatusAccepted, err
}

func (c controller) deactivate(ctx context.Context, id string) error {
	code, err := c.call(ctx, http.MethodDelete, id, nil, nil)
	if code == http.StatusNotFound {
		return nil
	}
	return err
}

func (c controller) devices(ctx context.Context) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		var all []item
		if _, err := c.call(ctx, http.MethodGet, "", nil, &all); err != nil {
			yield(item{}, err)
			return
		}
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// call sends a request, and returns the status of the answer. One that is no success is an error.
func (c controller) call(ctx context.Context, method, id string, body, answer any) (int, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	address, err := url.JoinPath(string(c), "devices", id)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return resp.StatusCode, fmt.Errorf("%s %s: expected success, got %s", method, address, resp.Status)
	}
	if answer == nil {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(answer)
}
