package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/xos-knative/synchronizer/pkg/function/functiontest"
)

// TestHardening is about a program that only sends: it answers everything with 404.
func TestHardening(t *testing.T) {
	functiontest.Hardening(t, functiontest.Program{Handler: handler{}, Code: 404, Unread: 404, Good: func() *http.Request {
		return httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello"))
	}})
}
