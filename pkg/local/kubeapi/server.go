package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// startTimeout bounds how long etcd and the API server may take to become ready on a slow, busy machine.
const startTimeout = 2 * time.Minute

// contextName is the name of cluster, user and context in the kubeconfig.
const contextName = "local"

// Options say how an API is started. The zero value is a temporary API on a free port without custom resources.
type Options struct {
	// Dir keeps etcd's data, the certificate, the token and the port. A later Start over the same Dir has the same
	// objects and the same kubeconfig, also after a SIGKILL. Default: a temporary directory that Stop removes.
	Dir string

	// Port on 127.0.0.1. Default (0): the port that Dir was last served on if it is still free, otherwise any free one.
	Port int

	// Fsync makes etcd wait for the disk with every write. Without it data survives the death of the process, but
	// not that of the machine; writes are several times faster.
	Fsync bool

	// CRDs are YAML files, or directories of them, whose CustomResourceDefinitions are applied before Start returns.
	// Documents of other kinds are left out.
	CRDs []string

	// Tokens are accepted in addition to the administrator's one: bearer token to user name. They are worth having
	// only together with an Authorizer that distinguishes the users.
	Tokens map[string]string

	// Authorizer decides what users may do. The administrator (Server.Config) always may do everything.
	// Default: everybody may do everything.
	Authorizer authorizer.Authorizer

	// Namespace of the kubeconfig's context, for kubectl commands that name none. Default: "default", as everywhere.
	Namespace string

	// Log takes what etcd, the API server and every other user of klog in this process have to say.
	// Default: the file kubeapi.log in Dir. As klog is global, the latest Start's Log wins.
	Log io.Writer
}

// Server is a running API. Make one with Start.
type Server struct {
	dir       string
	tempDir   bool
	namespace string
	identity  *identity
	address   string

	etcd *embed.Etcd
	// life ends with Stop.
	life    context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
	runErr  error // set before stopped is closed
	again   *again

	logFile *os.File
	stop    sync.Once
	stopErr error
}

// Start brings up the API and returns when it serves all resources of o.CRDs. ctx bounds only the start: the API runs
// until Stop.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{dir: o.Dir, namespace: o.Namespace, stopped: make(chan struct{}), cancel: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()

	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "kubeapi-"); err != nil {
			return nil, fmt.Errorf("cannot make a temporary directory for the API: %w", err)
		}
		s.tempDir = true
	}
	// Who has the token can do everything: only the owner may read the directory.
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the API's directory: %w", err)
	}

	log := o.Log
	if log == nil {
		s.logFile, err = os.OpenFile(filepath.Join(s.dir, "kubeapi.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot open the API's log: %w", err)
		}
		log = s.logFile
	}
	redirectLogs(log)

	if s.identity, err = loadIdentity(s.dir); err != nil {
		return nil, err
	}
	if s.etcd, err = startEtcd(ctx, filepath.Join(s.dir, "etcd"), o.Fsync); err != nil {
		return nil, err
	}
	if err := s.serve(ctx, o); err != nil {
		return nil, err
	}
	docs, err := readCRDs(o.CRDs)
	if err != nil {
		return nil, err
	}
	if err := s.ApplyCRDDocuments(ctx, append(docs, eventsCRD)...); err != nil {
		return nil, err
	}
	if err := s.expireEvents(s.life); err != nil {
		return nil, err
	}
	return s, nil
}

// serve starts the API server and waits until it is ready.
func (s *Server) serve(ctx context.Context, o Options) error {
	listener, err := s.listen(o.Port)
	if err != nil {
		return err
	}
	prepared, err := newAPIServer(s.EtcdURL(), listener, s.identity, o)
	if err != nil {
		_ = listener.Close()
		return err
	}
	s.address = listener.Addr().String() // From here on Stop has something to wait for.

	s.life, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.again = &again{life: s.life, waiting: map[string]context.CancelFunc{}}
	go func() {
		defer close(s.stopped)
		s.runErr = prepared.RunWithContext(s.life)
	}()

	client, err := rest.UnversionedRESTClientFor(versionless(s.Config()))
	if err != nil {
		return fmt.Errorf("cannot make a client of the API: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-s.stopped:
			return false, fmt.Errorf("it ended: %w", s.runErr)
		default:
		}
		// Refused connections and 503 mean "not yet".
		return client.Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the Kubernetes API at %s did not become ready: %w", s.address, err)
	}
	return s.identity.rememberPort(listener.Addr().(*net.TCPAddr).Port)
}

// listen takes the wanted port, or the one that this directory had before, or a free one.
func (s *Server) listen(port int) (net.Listener, error) {
	if port == 0 && s.identity.port != 0 {
		if l, err := listenTCP(s.identity.port); err == nil {
			return l, nil
		}
	}
	l, err := listenTCP(port)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the Kubernetes API on port %d: %w", port, err)
	}
	return l, nil
}

func listenTCP(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// URL is the address of the API, such as "https://127.0.0.1:6443".
func (s *Server) URL() string { return "https://" + s.address }

// Config is a fresh client configuration of the administrator, without a limit on the rate of requests.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host:            s.URL(),
		BearerToken:     s.identity.token,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.identity.ca},
		QPS:             -1,
	}
}

// Kubeconfig is the administrator's kubeconfig in YAML, with certificate and token inside. It stays valid over later
// runs on the same directory as long as the port is not taken by somebody else.
func (s *Server) Kubeconfig() ([]byte, error) {
	c := clientcmdapi.NewConfig()
	c.Clusters[contextName] = &clientcmdapi.Cluster{Server: s.URL(), CertificateAuthorityData: s.identity.ca}
	c.AuthInfos[contextName] = &clientcmdapi.AuthInfo{Token: s.identity.token}
	c.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName, Namespace: s.namespace}
	c.CurrentContext = contextName
	return clientcmd.Write(*c)
}

// SetNamespace changes the namespace of later kubeconfigs, see Options.Namespace.
func (s *Server) SetNamespace(namespace string) { s.namespace = namespace }

// WriteKubeconfig puts Kubeconfig into a file that only its owner can read.
func (s *Server) WriteKubeconfig(path string) error {
	b, err := s.Kubeconfig()
	if err != nil {
		return fmt.Errorf("cannot make the kubeconfig: %w", err)
	}
	return writeFile(path, b)
}

// Done is closed when the API server has ended, by Stop or by a failure of its own.
func (s *Server) Done() <-chan struct{} { return s.stopped }

// Stop ends the API server and etcd, and removes the directory if it was a temporary one. It can be called again.
func (s *Server) Stop() error {
	s.stop.Do(func() {
		s.cancel()
		if s.address != "" && s.etcd != nil {
			<-s.stopped
			s.again.wg.Wait()
		}
		if s.etcd != nil {
			s.etcd.Close()
		}
		var errs []error
		if s.runErr != nil {
			errs = append(errs, fmt.Errorf("the Kubernetes API ended with: %w", s.runErr))
		}
		if s.logFile != nil {
			releaseLogs(s.logFile)
			errs = append(errs, s.logFile.Close())
		}
		if s.tempDir {
			errs = append(errs, os.RemoveAll(s.dir))
		}
		s.stopErr = errors.Join(errs...)
	})
	return s.stopErr
}
