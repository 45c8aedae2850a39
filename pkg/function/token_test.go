package function

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	token := func(s TokenSettings) string {
		t.Helper()
		token, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	got := []string{token(TokenSettings{}), token(TokenSettings{TokenFile: file})}
	write("first\n")
	got = append(got, token(TokenSettings{TokenFile: file}))
	write("second")
	got = append(got, token(TokenSettings{TokenFile: file}))
	// Nothing without a file, and always the token that is in it now.
	if diff := cmp.Diff([]string{"", "", "first", "second"}, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}

	if _, err := (TokenSettings{TokenFile: t.TempDir()}).Token(t.Context()); err == nil {
		t.Error("a token that cannot be read must keep the event from being sent")
	}
}
