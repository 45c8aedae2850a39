package function

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// Token returns the token, or an empty string if there is none. It reads the file
// each time, because Knative replaces the token before it expires. An error means
// that there is a token which cannot be read: nothing must be sent without it.
func (s TokenSettings) Token(context.Context) (string, error) {
	if s.TokenFile == "" {
		return "", nil
	}
	token, err := os.ReadFile(s.TokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("OIDC_TOKEN_FILE: %w", err)
	}
	return strings.TrimSpace(string(token)), nil
}
