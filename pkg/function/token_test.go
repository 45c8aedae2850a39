package function

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthorize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	header := func(s TokenSettings) string {
		t.Helper()
		req := &http.Request{Header: http.Header{}}
		if err := s.Authorize(req); err != nil {
			t.Fatal(err)
		}
		return req.Header.Get("Authorization")
	}
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	got := []string{header(TokenSettings{}), header(TokenSettings{TokenFile: file})}
	write("first\n")
	got = append(got, header(TokenSettings{TokenFile: file}))
	write("second")
	got = append(got, header(TokenSettings{TokenFile: file}))
	// Nothing without a file, and always the token that is in it now.
	if diff := cmp.Diff([]string{"", "", "Bearer first", "Bearer second"}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	if err := (TokenSettings{TokenFile: t.TempDir()}).Authorize(&http.Request{Header: http.Header{}}); err == nil {
		t.Error("a token that cannot be read must keep the event from being sent")
	}
}
