package function

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
)

// TokenSettings say who a program is when it sends events.
type TokenSettings struct {
	// TokenFile holds the token for the sink. Knative's SinkBindings and
	// ContainerSources put one into the pod when the feature
	// authentication-oidc is on and the sink has an audience; without the file
	// events are sent without a token.
	TokenFile string `envconfig:"OIDC_TOKEN_FILE" default:"/oidc/token"`
}

// Authorize puts the token into a request. The file is read each time, because
// Knative replaces the token before it expires. An error means that there is a
// token which cannot be read: the request must not be sent without it.
func (s TokenSettings) Authorize(req *http.Request) error {
	if s.TokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(s.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("OIDC_TOKEN_FILE: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return nil
}
