package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/xos-knative/synchronizer/pkg/function"
	"github.com/xos-knative/synchronizer/pkg/local"
	"github.com/xos-knative/synchronizer/pkg/local/collector"
	"github.com/xos-knative/synchronizer/pkg/local/kubeapi"
	"github.com/xos-knative/synchronizer/pkg/step"
)

// children are what this program also is, by its first argument: parts that get a process of their own.
var children = map[string]func(ctx context.Context, args []string) error{"api": runAPI, "runner": runRunner}

// runAPI is the API server, with the garbage collector that every cluster has.
func runAPI(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("api", flag.ExitOnError)
	dir := flags.String("dir", "", "data")
	crds := flags.String("crds", "", "folders with definitions")
	_ = flags.Parse(args)
	api, err := kubeapi.Start(ctx, kubeapi.Options{Dir: *dir, CRDs: strings.Split(*crds, ",")})
	if err != nil {
		return err
	}
	garbage, err := collector.Start(api.Config())
	if err != nil {
		return errors.Join(err, api.Stop())
	}
	err = api.WriteKubeconfig(os.Getenv("KUBECONFIG"))
	if err == nil {
		err = serve(ctx, http.NewServeMux())
	}
	garbage.Stop()
	return errors.Join(err, api.Stop())
}

// runRunner is the local runner: Broker, Triggers and activators, over the API of KUBECONFIG. It starts the model source and
// the functions.
func runRunner(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("runner", flag.ExitOnError)
	var o local.Options
	flags.StringVar(&o.Root, "root", "", "project")
	flags.StringVar(&o.Dir, "dir", "", "data")
	flags.StringVar(&o.Bin, "bin", "", "programs")
	flags.DurationVar(&o.Idle, "idle", time.Hour, "how long functions stay")
	only := flags.String("only", "", "synchronizers of the project")
	add := flags.String("add", "", "other synchronizers")
	without := flags.String("without", "", "resources to leave out")
	greeter := flags.String("greeter", "", "URL of the greeter")
	_ = flags.Parse(args)
	o.Only, o.Add, o.Without = list(*only), list(*add), list(*without)
	o.Env, o.Out = []string{"GREETER_URL=" + *greeter}, os.Stdout
	api, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	o.API = api
	system, err := local.Start(ctx, o)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /programs", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(system.Programs())
	})
	mux.HandleFunc("POST /pull", func(w http.ResponseWriter, r *http.Request) {
		status, err := wakePull(r.Context(), system)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(status)
	})
	return errors.Join(serve(ctx, mux), system.Stop())
}

// wakePull wakes pull, as its PingSource does, and answers when the round has ended.
func wakePull(ctx context.Context, system *local.System) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://pull."+namespace+".svc.cluster.local", strings.NewReader(""))
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{"Specversion": "1.0", "Id": "1", "Source": "/bench", "Type": step.EventPing} {
		req.Header.Set("Ce-"+name, value)
	}
	resp, err := system.Client().Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func list(names string) []string {
	return strings.FieldsFunc(names, func(r rune) bool { return r == ',' })
}

// serve says that the child is ready, until the driver stops it.
func serve(ctx context.Context, mux *http.ServeMux) error {
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
	if err != nil {
		return err
	}
	server := function.Server(mux, function.Limits{})
	go func() { _ = server.Serve(l) }()
	<-ctx.Done()
	return server.Close()
}

// crdFolders are those of the project's models.
func crdFolders(root string) string {
	return strings.Join([]string{filepath.Join(root, "config/core/crds"), filepath.Join(root, "config/helloworld/crds")}, ",")
}
