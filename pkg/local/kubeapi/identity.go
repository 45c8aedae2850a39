package kubeapi

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// identity is what a kubeconfig has: it must not change between two runs, or the kubeconfigs in use do not work any more.
type identity struct {
	dir   string
	token string
	port  int    // of the last run, 0 = none
	ca    []byte // PEM

	certFile, keyFile string
}

// loadIdentity reads what an earlier run has left in dir, and makes what is missing.
func loadIdentity(dir string) (*identity, error) {
	id := &identity{
		dir:      dir,
		certFile: filepath.Join(dir, "apiserver.crt"),
		keyFile:  filepath.Join(dir, "apiserver.key"),
	}

	tokenFile := filepath.Join(dir, "token")
	token, err := os.ReadFile(tokenFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the API's token: %w", err)
	}
	if id.token = strings.TrimSpace(string(token)); id.token == "" {
		id.token = rand.Text()
		if err := writeFile(tokenFile, []byte(id.token+"\n")); err != nil {
			return nil, err
		}
	}

	// If the port cannot be read, any free one will do.
	if b, err := os.ReadFile(id.portFile()); err == nil {
		id.port, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}

	if !certificateServes(id.certFile, id.keyFile) {
		cert, key, err := certutil.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
		if err != nil {
			return nil, fmt.Errorf("cannot make the API's certificate: %w", err)
		}
		if err := errors.Join(writeFile(id.keyFile, key), writeFile(id.certFile, cert)); err != nil {
			return nil, err
		}
	}
	if id.ca, err = os.ReadFile(id.certFile); err != nil {
		return nil, fmt.Errorf("cannot read the API's certificate: %w", err)
	}
	return id, nil
}

func (id *identity) portFile() string { return filepath.Join(id.dir, "port") }

func (id *identity) rememberPort(port int) error {
	id.port = port
	return writeFile(id.portFile(), []byte(strconv.Itoa(port)+"\n"))
}

// certificateServes reports whether the pair is there, belongs together and is valid for one more day. A pair that a
// killed run has half written does not.
func certificateServes(certFile, keyFile string) bool {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	return err == nil && time.Now().Add(24*time.Hour).Before(pair.Leaf.NotAfter)
}

// writeFile writes by renaming, so that a kill leaves the old content or the new one, and for the owner only.
func writeFile(path string, content []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
