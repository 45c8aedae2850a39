package server

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/xos-knative/synchronizer/pkg/tosca"
)

// A password may be guessed wrong guesses times, and then once in guessEvery.
const (
	guesses    = 10
	guessEvery = 10 * time.Second
)

const tooManyAttempts = "TooManyAttemptsError"

// attempts limits how often passwords can be guessed, for each pod. It counts by names, since only
// they cannot be made up: who sends a request is known to whatever is in front of the function. So
// whoever guesses holds up the user whose password it is; a bearer token always works.
//
// Names share a fixed number of counters: their number is the sender's choice, and a name without a
// user is limited as one with, so that the answer says nothing about names. The zero value works.
type attempts struct {
	// mu protects following. It is held while a password is compared, so that many at once are not
	// more attempts.
	mu    sync.Mutex
	wrong [256]*rate.Limiter
}

// try returns what match does, which is empty if the password is wrong. After too many wrong ones
// match is not called, so that a right one is not found out either.
func (a *attempts) try(now time.Time, name string, match func() string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	counter := &a.wrong[sha256.Sum256([]byte(name))[0]]
	if *counter == nil {
		*counter = rate.NewLimiter(rate.Every(guessEvery), guesses)
	}
	if (*counter).TokensAt(now) < 1 {
		return "", &failure{status: http.StatusTooManyRequests, errs: []*tosca.Error{{Name: tooManyAttempts,
			Message: "wrong passwords were tried too often; try again later, or with `Authorization: Bearer <token for the Kubernetes API>`"}}}
	}
	token := match()
	if token == "" {
		(*counter).AllowN(now, 1)
	}
	return token, nil
}
