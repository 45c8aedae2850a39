package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/xos-knative/synchronizer/pkg/local/manifest"
)

const project = "../testdata/project"

// load reads directories of which nothing else is there.
func load(without []string, dirs ...string) (*manifest.Set, error) {
	exclusions := manifest.Exclude(without...)
	set, err := manifest.Load(manifest.Options{Dirs: dirs, Without: exclusions})
	if err != nil {
		return nil, err
	}
	if err := exclusions.Unused(); err != nil {
		return nil, err
	}
	return manifest.Join(set)
}

func TestLoad(t *testing.T) {
	set, err := load(nil, project+"/config", project+"/eventing")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.CRDs) != 1 || len(set.Brokers) != 2 || len(set.Triggers) != 4 || len(set.PingSources) != 1 {
		t.Errorf("want everything but samples: got %d CRDs, %d Brokers, %d Triggers, %d PingSources",
			len(set.CRDs), len(set.Brokers), len(set.Triggers), len(set.PingSources))
	}
	if diff := cmp.Diff([]string{"Namespace test", "ServiceAccount test/echo"}, set.Inert); diff != "" {
		t.Errorf("what has no effect must be told: -want, +got:\n%s", diff)
	}

	const echo = "github.com/xos-knative/synchronizer/pkg/local/testdata/echo"
	var inner manifest.Function
	for _, f := range set.Functions() {
		if f.Name == "inner" {
			inner = f
		}
	}
	inner.Env = nil
	want := manifest.Function{
		Program: manifest.Program{
			Namespace: "test", Name: "inner", Package: echo, Args: []string{"--data", "/scratch/x"},
			Mounts: []manifest.Mount{{Path: "/scratch"}}, Port: 8080, Probe: "/healthz", Grace: 30 * time.Second,
		},
		Concurrency: 2, Timeout: 2 * time.Second, Window: 6 * time.Second, MaxScale: 1,
	}
	if diff := cmp.Diff(want, inner); diff != "" {
		t.Errorf("a Service with everything: -want, +got:\n%s", diff)
	}

	keeper := set.Daemons()[0]
	wantKeeper := manifest.Program{
		Namespace: "test", Name: "keeper", Package: echo, Args: []string{"--dir=/data", "/data/x"},
		Env: []corev1.EnvVar{
			{Name: "KEEP", Value: "/data/events"},
			{Name: "POD_NAMESPACE", Value: "test"},
			{Name: "K_SINK", Value: "http://broker-ingress.knative-eventing.svc.cluster.local/test/sync"},
			{Name: "K_CE_OVERRIDES"},
		},
		Mounts: []manifest.Mount{{Path: "/data", Claim: "keeper"}}, Port: 8080, Probe: "/healthz", Grace: 30 * time.Second,
	}
	if diff := cmp.Diff(wantKeeper, keeper); diff != "" {
		t.Errorf("a Deployment with a SinkBinding: -want, +got:\n%s", diff)
	}

	source := set.Daemons()[1]
	wantEnv := []corev1.EnvVar{
		{Name: "K_SINK", Value: "http://broker-ingress.knative-eventing.svc.cluster.local/test/async"},
		{Name: "K_CE_OVERRIDES", Value: `{"extensions":{"more":"stuff"}}`},
	}
	if diff := cmp.Diff(wantEnv, source.Env); diff != "" {
		t.Errorf("a ContainerSource knows its sink: -want, +got:\n%s", diff)
	}

	wantBackends := []manifest.Backend{{Namespace: "test", Name: "kept", Program: "keeper", Ports: []int32{80}}}
	if diff := cmp.Diff(wantBackends, set.Backends()); diff != "" {
		t.Errorf("a Service leads to its Deployment: -want, +got:\n%s", diff)
	}
}

func TestWithout(t *testing.T) {
	cases := map[string]struct {
		reason  string
		without []string
		want    int
		wantErr string
	}{
		"Short":   {reason: "Kind and name are enough, in any case.", without: []string{"trigger/GOOD"}, want: 3},
		"Long":    {reason: "A namespace can be given.", without: []string{"Trigger/test/good", "trigger/test/dead"}, want: 2},
		"Unknown": {reason: "A typing mistake must not pass unseen.", without: []string{"trigger/godo"}, wantErr: `"trigger/godo"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			set, err := load(tc.without, project+"/config", project+"/eventing")
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("\n%s\nwant an error with %q, got %v", tc.reason, tc.wantErr, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("\n%s\n%v", tc.reason, err)
			}
			if got := len(set.Triggers); got != tc.want {
				t.Errorf("\n%s\nwant %d Triggers, got %d", tc.reason, tc.want, got)
			}
		})
	}
}

// The pieces that the files of TestRefused are made of.
const (
	brokerYAML = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: b, namespace: ns}
`
	triggerYAML = `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t, namespace: ns}
spec:
  broker: b
  subscriber: {uri: "http://x"}
`
	serviceYAML = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: s, namespace: ns}
spec:
  template:
    spec:
      containers:
      - image: ko://example.com/x
`
	deploymentYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: ns}
spec:
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
      - name: d
        image: ko://example.com/x
`
)

func TestRefused(t *testing.T) {
	cases := map[string]struct {
		reason string
		yaml   string
		want   []string
	}{
		"UnknownField": {
			reason: "Decoding is strict.",
			yaml:   strings.Replace(triggerYAML, "broker: b", "broker: b\n  borker: b", 1),
			want:   []string{"f.yaml: document 1", `unknown field "spec.borker"`},
		},
		"FieldTwice": {
			reason: "So it is about fields that are there twice.",
			yaml:   strings.Replace(triggerYAML, "broker: b", "broker: b\n  broker: c", 1),
			want:   []string{"f.yaml: document 1", `"broker" already set`},
		},
		"UnknownKind": {
			reason: "A kind that nobody knows is named.",
			yaml:   "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n",
			want:   []string{"f.yaml: document 1", "Thing of example.com/v1", "nothing that acts on this kind"},
		},
		"UselessKind": {
			reason: "A kind that would do something on a cluster, but nothing here, is refused rather than forgotten.",
			yaml:   "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\n",
			want:   []string{"Job of batch/v1", "nothing that acts on this kind"},
		},
		"KnativeRules": {
			reason: "Knative's own validation is asked.",
			yaml:   brokerYAML + "---" + strings.Replace(triggerYAML, "broker: b", "broker: b\n  filter: {attributes: {Type: x}}", 1),
			want:   []string{"f.yaml: Trigger ns/t", `invalid key name "Type"`, "spec.filter.attributes"},
		},
		"Schedule": {
			reason: "So it is for schedules.",
			yaml:   "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: p, namespace: ns}\nspec: {schedule: often, sink: {uri: 'http://x'}}\n",
			want:   []string{"PingSource ns/p", "spec.schedule"},
		},
		"NoBroker": {
			reason: "A Trigger without its Broker would never get an event.",
			yaml:   triggerYAML,
			want:   []string{"Trigger ns/t", "spec.broker", `Not found: "b"`},
		},
		"NoSubscriber": {
			reason: "A subscriber has to be there.",
			yaml: brokerYAML + "---" + strings.Replace(triggerYAML, `{uri: "http://x"}`,
				"{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: nobody}}", 1),
			want: []string{"Trigger ns/t", "spec.subscriber", "no Service ns/nobody in the files"},
		},
		"UnknownDeadLetterSink": {
			reason: "Delivery to what is not here cannot work.",
			yaml:   brokerYAML + "---" + triggerYAML + "  delivery:\n    deadLetterSink: {ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}}\n",
			want:   []string{"spec.delivery.deadLetterSink", "cannot send events to messaging.knative.dev/v1 Channel"},
		},
		"HTTPS": {
			reason: "There are no certificates here.",
			yaml:   brokerYAML + "---" + strings.Replace(triggerYAML, "http://x", "https://x", 1),
			want:   []string{"spec.subscriber", "only http"},
		},
		"BrokerClass": {
			reason: "There is one class of Brokers.",
			yaml:   strings.Replace(brokerYAML, "{name", "{annotations: {eventing.knative.dev/broker.class: Kafka}, name", 1),
			want:   []string{"Broker ns/b", "metadata.annotations[eventing.knative.dev/broker.class]", `"Kafka"`, "MTChannelBasedBroker"},
		},
		"BrokerConfigMissing": {
			reason: "A Broker's ConfigMap has to be in the files.",
			yaml:   brokerYAML + "spec: {config: {apiVersion: v1, kind: ConfigMap, name: c, namespace: ns}}\n",
			want:   []string{"Broker ns/b", "spec.config", `"ns/c"`},
		},
		"BrokerChannel": {
			reason: "There is one kind of channels.",
			yaml: brokerYAML + "spec: {config: {apiVersion: v1, kind: ConfigMap, name: c, namespace: ns}}\n---\n" +
				"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: ns}\ndata:\n  channel-template-spec: |\n    apiVersion: x/v1\n    kind: KafkaChannel\n",
			want: []string{"spec.config", `"KafkaChannel"`, "InMemoryChannel"},
		},
		"BrokerTemplateMetadata": {
			reason: "An annotation that a cluster would ignore must not work here.",
			yaml: brokerYAML + "spec: {config: {apiVersion: v1, kind: ConfigMap, name: c, namespace: ns}}\n---\n" +
				"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: ns}\ndata:\n  channel-template-spec: |\n    apiVersion: messaging.knative.dev/v1\n    kind: InMemoryChannel\n    metadata: {annotations: {messaging.knative.dev/async-handler: \"true\"}}\n",
			want: []string{"spec.config", "Knative ignores"},
		},
		"Image": {
			reason: "Images cannot be run without containers.",
			yaml:   strings.Replace(serviceYAML, "ko://example.com/x", "nginx", 1),
			want:   []string{"Service ns/s", "spec.template.spec.containers[0].image", `"nginx"`, "ko://"},
		},
		"TwoContainers": {
			reason: "A process is one program.",
			yaml:   deploymentYAML + "      - {name: e, image: 'ko://example.com/y'}\n",
			want:   []string{"Deployment ns/d", "spec.template.spec.containers", "exactly 1 container"},
		},
		"Command": {
			reason: "The program is the one that is built.",
			yaml:   deploymentYAML + "        command: [sh]\n        workingDir: /x\n        envFrom: [{secretRef: {name: x}}]\n",
			want:   []string{"containers[0].command", "containers[0].workingDir", "containers[0].envFrom"},
		},
		"ValueFrom": {
			reason: "There are no Secrets.",
			yaml:   deploymentYAML + "        env: [{name: A, valueFrom: {secretKeyRef: {name: x, key: k}}}]\n",
			want:   []string{"containers[0].env[0].valueFrom"},
		},
		"Volume": {
			reason: "Volumes are directories.",
			yaml:   deploymentYAML + "        volumeMounts: [{name: v, mountPath: /v}]\n      volumes: [{name: v, hostPath: {path: /}}]\n",
			want:   []string{"containers[0].volumeMounts[0].name", "volume v"},
		},
		"Claim": {
			reason: "A claim has to be in the files.",
			yaml:   deploymentYAML + "        volumeMounts: [{name: v, mountPath: /v}]\n      volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]\n",
			want:   []string{"containers[0].volumeMounts[0].name", "PersistentVolumeClaim c"},
		},
		"Replicas": {
			reason: "Two processes of one program would need two ports and a balancer.",
			yaml:   strings.Replace(deploymentYAML, "  selector", "  replicas: 2\n  selector", 1),
			want:   []string{"Deployment ns/d", "spec.replicas"},
		},
		"ProbePort": {
			reason: "A process has one port.",
			yaml:   deploymentYAML + "        readinessProbe: {httpGet: {path: /x, port: 9999}}\n",
			want:   []string{"containers[0].readinessProbe.httpGet.port", "9999"},
		},
		"ProbeExec": {
			reason: "Commands of an image are not there.",
			yaml:   deploymentYAML + "        readinessProbe: {exec: {command: [x]}}\n",
			want:   []string{"containers[0].readinessProbe", "httpGet or tcpSocket"},
		},
		"Selector": {
			reason: "A Service that leads nowhere would only show when it is called.",
			yaml:   "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: ns}\nspec: {selector: {app: x}, ports: [{port: 80}]}\n",
			want:   []string{"Service ns/x", "spec.selector", "exactly 1 Deployment", "got 0"},
		},
		"Subject": {
			reason: "A SinkBinding needs a Deployment to bind.",
			yaml: brokerYAML + "---\napiVersion: sources.knative.dev/v1\nkind: SinkBinding\nmetadata: {name: x, namespace: ns}\n" +
				"spec: {subject: {apiVersion: apps/v1, kind: Deployment, name: nobody}, sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}}\n",
			want: []string{"SinkBinding ns/x", "spec.subject", "nobody"},
		},
		"Everything": {
			reason: "All mistakes are told at once.",
			yaml:   "apiVersion: batch/v1\nkind: Job\n---\napiVersion: v1\nkind: Secret\n",
			want:   []string{"document 1: Job", "document 2: Secret"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "f.yaml"), []byte(tc.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := load(nil, dir)
			if err == nil {
				t.Fatalf("\n%s\nwant an error with %q, got none", tc.reason, tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("\n%s\nwant an error with %q, got %v", tc.reason, want, err)
				}
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	cases := map[string]struct {
		reason string
		yaml   string
	}{
		"Comments": {reason: "A document of comments is no resource.", yaml: "# nothing\n---\n" + brokerYAML + "---\n# nothing\n"},
		"OptionalSecret": {
			reason: "What is optional is absent, as on a cluster without it.",
			yaml: deploymentYAML + "        env: [{name: A, valueFrom: {secretKeyRef: {name: x, key: k, optional: true}}}]\n" +
				"        volumeMounts: [{name: v, mountPath: /v}]\n      volumes: [{name: v, secret: {secretName: x, optional: true}}]\n",
		},
		"Timeout": {reason: "Knative installs with this feature on.", yaml: brokerYAML + "spec: {delivery: {timeout: PT5S}}\n"},
		"Inert": {
			reason: "What a process has no use for is accepted.",
			yaml:   "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "f.yaml"), []byte(tc.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := load(nil, dir); err != nil {
				t.Errorf("\n%s\n%v", tc.reason, err)
			}
		})
	}
}

// TestJoin puts two directories together, as the core and a synchronizer are.
func TestJoin(t *testing.T) {
	const other = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: other, namespace: ns}\n"
	cases := map[string]struct {
		reason      string
		one, two    string
		want        []string
		wantBrokers int
	}{
		"Reference": {reason: "A Trigger finds its Broker in the other directory.", one: brokerYAML, two: triggerYAML, wantBrokers: 1},
		"Missing":   {reason: "A Broker that neither has is missed.", one: other, two: triggerYAML, want: []string{"two.yaml", "Trigger ns/t", "spec.broker"}},
		"Twice":     {reason: "An object can be there once.", one: brokerYAML, two: other + "---" + brokerYAML, want: []string{"two.yaml: Broker ns/b: metadata.name", "one.yaml has"}},
		"SameName":  {reason: "Objects of different kinds may have one name.", one: brokerYAML, two: "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: b, namespace: ns}\n", wantBrokers: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			read := func(file, content string) *manifest.Set {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				set, err := manifest.Load(manifest.Options{Dirs: []string{dir, filepath.Join(dir, "missing")}})
				if err != nil {
					t.Fatalf("each is valid by itself: %v", err)
				}
				return set
			}
			joined, err := manifest.Join(read("one.yaml", tc.one), read("two.yaml", tc.two))
			if len(tc.want) == 0 {
				if err != nil || len(joined.Brokers) != tc.wantBrokers {
					t.Errorf("\n%s\nwant %d Brokers, got %v and %v", tc.reason, tc.wantBrokers, joined, err)
				}
				return
			}
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("\n%s\nwant an error with %q, got %v", tc.reason, want, err)
				}
			}
		})
	}
}
