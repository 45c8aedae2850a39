package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/procfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/grpclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/xos-knative/synchronizer/functions/helloworld/api/v1alpha1"
	"github.com/xos-knative/synchronizer/scripts/bench/drive"
	"github.com/xos-knative/synchronizer/scripts/bench/report"
)

// growthStarts is how often the source is started, and everything read, at a number of models.
func growthStarts(models int) int { return min(3, 1+20_000/models) }

// growth is what a number of models costs the source on which no step has work.
type growth struct {
	Models     int
	Starts     []report.Result // of the source, until it had read all models. CPU is until it had looked at them, too.
	Reads      []report.Result // of all models by the driver, in the same way, but without decoding them
	Bytes      int64           // that were read
	MiB        float64         // that the source uses then, the most of all starts
	Peak, Heap float64         // MiB
}

// parseSizes reads numbers of models, each larger than the one before.
func parseSizes(text string) (sizes []int, err error) {
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		n, err := strconv.Atoi(field)
		if last := append([]int{0}, sizes...); err != nil || n <= last[len(last)-1] {
			return nil, fmt.Errorf("-growth: expected growing numbers such as 1000,10000, got %q", text)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// grow measures the source at each number of models. All of them are copies of one that the functions have settled, and
// are put into etcd by hand.
func (b *bench) grow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, err := chosenSides(oursInTwo)
	if err != nil {
		return err
	}
	watched, unwatch := context.WithCancel(ctx) // The driver's own watch would cost the API too much.
	defer unwatch()
	s, err := b.begin(watched, ours[0])
	if err != nil {
		return fmt.Errorf("growth: %w", err)
	}
	defer s.stop()
	etcd, err := s.etcd(ctx)
	if err != nil {
		return err
	}
	defer etcd.Close()
	if _, err := s.watch.Until(ctx, 1, drive.Greets("Arya"), s.make(1, "Arya")); err != nil {
		return fmt.Errorf("growth: %w", err)
	}
	s.runner.Stop()
	s.runner = nil
	unwatch()
	for _, n := range b.sizes {
		if err := s.fill(ctx, etcd, n); err != nil {
			return fmt.Errorf("growth to %d models: %w", n, err)
		}
		g, err := s.growth(ctx)
		if err != nil {
			return fmt.Errorf("growth, %d models: %w", n, err)
		}
		b.growths = append(b.growths, g)
		fmt.Printf("bench: source with %d models: ready after %.2f s, %.0f MiB\n", n, g.start(), g.MiB)
	}
	return nil
}

// etcd is a client of the storage of the API.
func (s *session) etcd(ctx context.Context) (*clientv3.Client, error) {
	resp, err := call(ctx, http.MethodGet, s.programs[0].address, etcdPath, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	url, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	// It would say that its first connection was cancelled, as it always is.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	return clientv3.New(clientv3.Config{Endpoints: []string{string(url)}, Context: ctx})
}

// fill makes n instances of those that there are, by copies of the first one.
func (s *session) fill(ctx context.Context, etcd *clientv3.Client, n int) error {
	folder := "/registry/apiextensions.kubernetes.io/" + v1alpha1.GroupVersion.Group + "/" + drive.Instances + "/" + drive.Namespace + "/"
	first := &drive.Instance{}
	if err := s.Get(ctx, drive.Instances, drive.InstanceName(0), first); err != nil {
		return err
	}
	stored, err := etcd.Get(ctx, folder+first.Name)
	if err != nil || len(stored.Kvs) != 1 {
		return errors.Join(fmt.Errorf("etcd has no %s", folder+first.Name), err)
	}
	from := max(s.count, 1)
	s.count = n
	if err := drive.InParallel(ctx, n-from, func(ctx context.Context, k int) error {
		name := drive.InstanceName(from + k)
		uid := fmt.Sprintf("%s%012x", first.UID[:24], from+k)
		_, err := etcd.Put(ctx, folder+name, strings.NewReplacer(first.Name, name, string(first.UID), uid).Replace(string(stored.Kvs[0].Value)))
		return err
	}); err != nil {
		return err
	}
	if stored, err = etcd.Get(ctx, folder+first.Name); err != nil {
		return err
	}
	return s.caughtUp(ctx, stored.Header.Revision)
}

// caughtUp waits until the API knows what etcd has. It answers nobody before that, and gives up after some seconds.
func (s *session) caughtUp(ctx context.Context, revision int64) error {
	for {
		err := s.REST.Get().Namespace(drive.Namespace).Resource(drive.Instances).Name(drive.InstanceName(0)).Param("resourceVersion", fmt.Sprint(revision)).Do(ctx).Error()
		if !apierrors.IsTimeout(err) {
			return err
		}
	}
}

// growth measures with the models that there are.
func (s *session) growth(ctx context.Context) (growth, error) {
	g := growth{Models: s.count}
	for range growthStarts(s.count) {
		r, err := s.around(ctx, "read", s.count, func(ctx context.Context) (time.Duration, []float64, error) {
			began := time.Now()
			var err error
			g.Bytes, err = s.readAll(ctx)
			return time.Since(began), nil, err
		})
		if err != nil {
			return g, err
		}
		g.Reads = append(g.Reads, r)
		var source *program
		r, err = s.around(ctx, "source started", s.count, func(ctx context.Context) (_ time.Duration, _ []float64, err error) {
			source, err = s.start(ctx, modelSource, filepath.Join(s.bench.bin, "functions", modelSource), nil, "K_SINK="+s.greeterURL)
			if err != nil {
				return 0, nil, err
			}
			return source.took, nil, nil
		})
		if err != nil {
			return g, err
		}
		g.Starts = append(g.Starts, r)
		if err := g.look(ctx, source); err != nil {
			return g, err
		}
		source.Stop()
	}
	return g, nil
}

// readAll reads all instances as the source does, by a watch that begins with them, and decodes nothing. It says how many
// bytes they were.
func (s *session) readAll(ctx context.Context) (size int64, err error) {
	body, err := s.REST.Get().Namespace(drive.Namespace).Resource(drive.Instances).VersionedParams(&metav1.ListOptions{Watch: true, SendInitialEvents: ptr.To(true),
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true}, metav1.ParameterCodec).Stream(ctx)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if size += int64(len(lines.Bytes())); bytes.HasPrefix(lines.Bytes(), []byte(`{"type":"BOOKMARK"`)) {
			return size, nil
		}
	}
	return size, errors.Join(errors.New("the watch ended before all instances had come"), lines.Err())
}

// look takes down the memory of the source, and makes sure that it has found no work.
func (g *growth) look(ctx context.Context, source *program) error {
	process, err := procfs.NewProc(source.PID())
	if err != nil {
		return err
	}
	status, err := process.NewStatus()
	if err != nil {
		return err
	}
	g.MiB, g.Peak = max(g.MiB, mib(float64(status.VmRSS))), max(g.Peak, peakMiB(process))
	resp, err := call(ctx, http.MethodGet, source.address, "/metrics", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	metrics, err := drive.Parse(resp.Body)
	if err != nil {
		return err
	}
	g.Heap = max(g.Heap, mib(sum(metrics["go_memstats_heap_inuse_bytes"])))
	if n := sum(metrics["synchronizer_source_events_sent_total"]) + sum(metrics["synchronizer_source_events_refused_total"]); n > 0 {
		return fmt.Errorf("expected no step to have work, the source sent %.0f events", n)
	}
	return nil
}

func mib(size float64) float64 { return size / (1 << 20) }

// sum is that of all values of a metric. One that nobody has counted is not there.
func sum(f *dto.MetricFamily) (total float64) {
	for _, m := range f.GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return total
}

func seconds(r report.Result) float64 { return r.Seconds }

func (g growth) start() float64 { return report.Median(report.Values(g.Starts, seconds)) }
func (g growth) read() float64  { return report.Median(report.Values(g.Reads, seconds)) }

// cpu is what a program used in seconds, not for each model.
func (g growth) cpu(all []report.Result, program string) float64 {
	return report.Median(report.Values(all, func(r report.Result) float64 { return r.CPU[program] * float64(g.Models) / 1000 }))
}

// exponent is by what power something grows from one number of models to another: 1 is linear.
func exponent(models, moreModels int, value, moreValue float64) float64 {
	return math.Log(moreValue/value) / math.Log(float64(moreModels)/float64(models))
}

func (b *bench) printGrowth(w io.Writer) {
	if len(b.growths) == 0 {
		return
	}
	t := report.Table(w, "MODELS", "SOURCE READY S", "MIN..MAX", "GROWTH", "CPU S SOURCE", "API", "MIB", "PEAK", "HEAP", "BARE READ S", "GROWTH", "CPU S API", "MB", "OTHERS")
	last := growth{}
	for n, g := range b.growths {
		starts := report.Values(g.Starts, seconds)
		byStart, byRead := "-", "-"
		if n > 0 {
			byStart = report.Number(exponent(last.Models, g.Models, last.start(), g.start()), 2)
			byRead = report.Number(exponent(last.Models, g.Models, last.read(), g.read()), 2)
		}
		last = g
		report.Row(t, strconv.Itoa(g.Models), report.Number(g.start(), 2), report.Number(slices.Min(starts), 2)+".."+report.Number(slices.Max(starts), 2), byStart,
			report.Number(g.cpu(g.Starts, modelSource), 2), report.Number(g.cpu(g.Starts, "api"), 2), report.Number(g.MiB, 0), report.Number(g.Peak, 0), report.Number(g.Heap, 0),
			report.Number(g.read(), 2), byRead, report.Number(g.cpu(g.Reads, "api"), 2), report.Number(float64(g.Bytes)/1e6, 1),
			report.Number(report.Median(report.Values(slices.Concat(g.Starts, g.Reads), func(r report.Result) float64 { return r.Others })), 1))
	}
	_ = t.Flush()
}
