package server

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"knative.dev/pkg/logging"

	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// Headers by which XOS knew its users.
const (
	headerUsername = "xos-username"
	headerPassword = "xos-password"
)

// user is one file of the Secret with the users of XOS:
//
//	{"username": "admin@opencord.org", "password": "letmein", "token": "<bearer token for the Kubernetes API>"}
//
// The name is in the file because an e-mail address cannot be a key of a Secret. Without it, the
// file's name is the name.
type user struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Token    string `json:"token"`
}

// token finds the bearer token that the request works with. The function has no token of its own.
func (s *server) token(r *http.Request) (string, error) {
	refuse := func(message string) (string, error) {
		return "", &failure{status: http.StatusUnauthorized, errs: []*tosca.Error{{Name: unauthorized, Message: message}}}
	}
	if auth := r.Header.Get("Authorization"); auth != "" {
		scheme, token, _ := strings.Cut(auth, " ")
		if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return refuse("expected `Authorization: Bearer <token for the Kubernetes API>`")
		}
		return token, nil
	}
	name, password := r.Header.Get(headerUsername), r.Header.Get(headerPassword)
	if name == "" && password == "" {
		return refuse("expected `Authorization: Bearer <token for the Kubernetes API>`")
	}
	users, err := readUsers(s.UsersDir)
	if err != nil {
		return "", err
	}
	if users == nil {
		return refuse("xos-username and xos-password are not taken: there is no Secret with users; expected `Authorization: Bearer <token for the Kubernetes API>`")
	}
	token, err := s.attempts.try(time.Now(), name, func() string { return match(users, name, password) })
	if err != nil {
		return "", err
	}
	if token == "" {
		logging.FromContext(r.Context()).Warnw("A password is wrong", zap.String("username", name), zap.String("from", r.Header.Get("X-Forwarded-For")))
		return refuse("xos-username or xos-password is wrong")
	}
	return token, nil
}

// match always compares with every user, so that the time it takes says nothing about names or
// passwords.
func match(users []user, name, password string) string {
	token := ""
	for _, u := range users {
		if sameText(u.Username, name)&sameText(u.Password, password) == 1 {
			token = u.Token
		}
	}
	return token
}

// sameText compares hashes, which all have the same length.
func sameText(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

// readUsers reads the Secret for each request, so that a new password counts as soon as the kubelet
// has mounted it. It returns nil if there is no Secret.
func readUsers(dir string) ([]user, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(err)
	}
	var users []user
	for _, e := range entries {
		// The kubelet's own entries, such as ..data.
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, unreadable(err)
		}
		var u user
		if err := json.Unmarshal(raw, &u); err != nil {
			return nil, unreadable(fmt.Errorf("key %s: expected JSON with username, password and token", e.Name()))
		}
		u.Username = cmp.Or(u.Username, e.Name())
		// A Secret that is not filled in yet must let nobody in.
		if u.Password == "" || u.Token == "" {
			continue
		}
		users = append(users, u)
	}
	if users == nil {
		users = []user{}
	}
	return users, nil
}

func unreadable(err error) error {
	return &failure{status: http.StatusInternalServerError, errs: []*tosca.Error{{Name: internal,
		Message: fmt.Sprintf("the Secret with the users of XOS cannot be read: %v", err)}}}
}
