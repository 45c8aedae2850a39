package kubeapi

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startEtcd runs a single etcd member over dir. It listens on free ports of the loopback interface, chosen by the
// operating system, so that two of them never compete for one.
func startEtcd(ctx context.Context, dir string, fsync bool) (*embed.Etcd, error) {
	anyPort := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c := embed.NewConfig()
	c.Name = "local"
	c.Dir = dir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{anyPort}, []url.URL{anyPort}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{anyPort}, []url.URL{anyPort}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = !fsync
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZapLogger())
	// A single member waits for no other: the shortest election time that etcd accepts.
	c.TickMs, c.ElectionMs = 20, 200

	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("cannot start etcd in %s: %w", dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = fmt.Errorf("it stopped")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready after %s", startTimeout)
	}
	e.Close()
	return nil, fmt.Errorf("cannot start etcd in %s: %w", dir, err)
}

// EtcdURL is where etcd's clients find it, without a password. Objects that are put there by hand are not validated.
func (s *Server) EtcdURL() string { return "http://" + s.etcd.Clients[0].Addr().String() }
