package manifest

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/networking/pkg/apis/networking"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

const (
	// imagePrefix marks images that ko builds from a Go package.
	imagePrefix = "ko://"
	// defaultPort is the one that a container without ports listens on, as Knative has it.
	defaultPort = 8080
	// defaultGrace is Kubernetes' terminationGracePeriodSeconds.
	defaultGrace = 30 * time.Second
)

// Program is what is left of a container when there is no cluster: what to run, and with what around it.
type Program struct {
	Namespace, Name string

	// Package is the import path of the Go program.
	Package string
	Args    []string
	// Env has only literal values.
	Env []corev1.EnvVar
	// Mounts are the directories that the program expects.
	Mounts []Mount
	// Port is the one that the container is said to listen on. The process gets another one, in PORT.
	Port int32
	// Probe is the path that answers 2xx when the program is ready. Empty: it is ready when it takes connections.
	Probe string
	// Grace is how long it may take to end after SIGTERM.
	Grace time.Duration
}

// Key is the namespace and name of the resource.
func (p Program) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// Mount is a directory of a Program.
type Mount struct {
	// Path is where the container finds it.
	Path string
	// Claim is the name of the PersistentVolumeClaim in the program's namespace. Empty: an empty directory of its own,
	// which is lost when the process ends.
	Claim string
}

// Function is a Knative Service.
type Function struct {
	Program

	// Public reports whether it can be reached from outside of the cluster.
	Public bool
	// Concurrency is how many requests it takes at a time, 0 = any number.
	Concurrency int
	// Timeout is how long a request may take.
	Timeout time.Duration
	// Window is how long it may be idle before it is stopped, 0 = not said.
	Window time.Duration
	// MaxScale is how many pods it may have, 0 = not said.
	MaxScale int
	// AlwaysOn: it must not be stopped when idle.
	AlwaysOn bool
}

// Backend is where requests for a Service of Kubernetes go.
type Backend struct {
	Namespace, Name string
	// Program is the name of the Deployment, in the same namespace.
	Program string
	// Ports are those of the Service that lead to the Deployment's port.
	Ports []int32
}

// Functions are the Knative Services as programs.
func (s *Set) Functions() []Function {
	var all []Function
	for _, svc := range s.Services {
		f, _ := s.function(svc)
		all = append(all, f)
	}
	return all
}

// Daemons are the programs that always run: Deployments and ContainerSources.
func (s *Set) Daemons() []Program {
	var all []Program
	for _, d := range s.Deployments {
		if p, _ := s.deployment(d); replicas(d) > 0 {
			all = append(all, p)
		}
	}
	for _, c := range s.ContainerSources {
		p, _ := s.containerSource(c)
		all = append(all, p)
	}
	return all
}

// Programs are all programs: those of the Deployments and ContainerSources, and those of the functions.
func (s *Set) Programs() []Program {
	all := s.Daemons()
	for _, f := range s.Functions() {
		all = append(all, f.Program)
	}
	return all
}

// Backends says which Deployment is behind each Service of Kubernetes.
func (s *Set) Backends() []Backend {
	var all []Backend
	for _, svc := range s.CoreServices {
		d := s.backends(svc)[0]
		b := Backend{Namespace: svc.Namespace, Name: svc.Name, Program: d.Name}
		for _, p := range svc.Spec.Ports {
			b.Ports = append(b.Ports, p.Port)
		}
		all = append(all, b)
	}
	return all
}

// checkPrograms collects everything that keeps a container from being run as a process.
func (s *Set) checkPrograms() (errs []error) {
	for _, svc := range s.Services {
		_, found := s.function(svc)
		errs = append(errs, s.wrap(svc, found)...)
	}
	for _, d := range s.Deployments {
		_, found := s.deployment(d)
		errs = append(errs, s.wrap(d, found)...)
	}
	for _, c := range s.ContainerSources {
		_, found := s.containerSource(c)
		errs = append(errs, s.wrap(c, found)...)
	}
	return errs
}

func (s *Set) function(svc *servingv1.Service) (Function, field.ErrorList) {
	template := svc.Spec.Template
	p, errs := s.program(svc, template.Spec.PodSpec, field.NewPath("spec", "template", "spec"))
	// Knative hands every container its name, revision and configuration.
	p.Env = append(p.Env,
		corev1.EnvVar{Name: "K_SERVICE", Value: svc.Name},
		corev1.EnvVar{Name: "K_CONFIGURATION", Value: svc.Name},
		corev1.EnvVar{Name: "K_REVISION", Value: svc.Name + "-00001"})

	f := Function{Program: p, Timeout: 300 * time.Second}
	f.Public = svc.Labels[networking.VisibilityLabelKey] != "cluster-local"
	if t := template.Spec.TimeoutSeconds; t != nil {
		f.Timeout = time.Duration(*t) * time.Second
	}
	if c := template.Spec.ContainerConcurrency; c != nil {
		f.Concurrency = int(*c)
	}
	// Knative has validated the annotations; what it could not parse does not get here.
	if _, v, ok := autoscaling.WindowAnnotation.Get(template.Annotations); ok {
		f.Window, _ = time.ParseDuration(v)
	}
	if _, v, ok := autoscaling.MinScaleAnnotation.Get(template.Annotations); ok {
		n, _ := strconv.Atoi(v)
		f.AlwaysOn = n > 0
	}
	if _, v, ok := autoscaling.MaxScaleAnnotation.Get(template.Annotations); ok {
		f.MaxScale, _ = strconv.Atoi(v)
	}
	if traffic := svc.Spec.Traffic; len(traffic) > 1 || len(traffic) == 1 && traffic[0].Tag != "" {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "traffic"), "there is only one revision locally"))
	}
	return f, errs
}

func (s *Set) deployment(d *appsv1.Deployment) (Program, field.ErrorList) {
	p, errs := s.program(d, d.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	if n := replicas(d); n > 1 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), n, "the local runner runs one process; expected 0 or 1"))
	}
	for _, b := range s.SinkBindings {
		subjects, err := s.subjects(b)
		if err != nil || !slices.Contains(subjects, metav1.Object(d)) {
			continue
		}
		env, err := s.sinkEnv(b.Spec.SourceSpec, b.Namespace)
		if err != nil {
			// Reported for the SinkBinding itself.
			continue
		}
		p.Env = withEnv(p.Env, env...)
	}
	return p, errs
}

func (s *Set) containerSource(c *sourcesv1.ContainerSource) (Program, field.ErrorList) {
	p, errs := s.program(c, c.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	if env, err := s.sinkEnv(c.Spec.SourceSpec, c.Namespace); err == nil {
		p.Env = withEnv(p.Env, env...)
	}
	return p, errs
}

// sinkEnv is what a SinkBinding puts into a container (a ContainerSource works by one, too).
func (s *Set) sinkEnv(spec duckv1.SourceSpec, namespace string) ([]corev1.EnvVar, error) {
	sink, err := s.Resolve(spec.Sink, namespace)
	if err != nil {
		return nil, err
	}
	var overrides []byte
	if spec.CloudEventOverrides != nil {
		if overrides, err = json.Marshal(spec.CloudEventOverrides); err != nil {
			return nil, err
		}
	}
	return []corev1.EnvVar{{Name: "K_SINK", Value: sink.String()}, {Name: "K_CE_OVERRIDES", Value: string(overrides)}}, nil
}

// withEnv sets variables, replacing those that are there already.
func withEnv(env []corev1.EnvVar, vars ...corev1.EnvVar) []corev1.EnvVar {
	for _, v := range vars {
		env = slices.DeleteFunc(env, func(e corev1.EnvVar) bool { return e.Name == v.Name })
		env = append(env, v)
	}
	return env
}

// replicas is how many pods a Deployment wants, 1 if it does not say.
func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// backends are the Deployments whose pods a Service selects.
func (s *Set) backends(svc *corev1.Service) []*appsv1.Deployment {
	if len(svc.Spec.Selector) == 0 {
		return nil
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	var found []*appsv1.Deployment
	for _, d := range s.Deployments {
		if d.Namespace == svc.Namespace && selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			found = append(found, d)
		}
	}
	return found
}

// program turns a pod with one container into a Program, and lists what stands in the way.
func (s *Set) program(o metav1.Object, pod corev1.PodSpec, at *field.Path) (Program, field.ErrorList) {
	p := Program{Namespace: o.GetNamespace(), Name: o.GetName(), Grace: defaultGrace}
	var errs field.ErrorList
	if g := pod.TerminationGracePeriodSeconds; g != nil {
		p.Grace = time.Duration(*g) * time.Second
	}
	if len(pod.InitContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("initContainers"), "the local runner runs one process per resource"))
	}
	if n := len(pod.Containers); n != 1 {
		return p, append(errs, field.Invalid(at.Child("containers"), n, "the local runner runs one process per resource; expected exactly 1 container"))
	}

	c := pod.Containers[0]
	at = at.Child("containers").Index(0)
	pkg, ok := strings.CutPrefix(c.Image, imagePrefix)
	if !ok {
		errs = append(errs, field.Invalid(at.Child("image"), c.Image, "only programs of this project can be run; expected "+imagePrefix+"IMPORT/PATH"))
	}
	p.Package = pkg
	p.Args = slices.Clone(c.Args)
	for _, f := range []struct {
		name string
		set  bool
		why  string
	}{
		{"command", len(c.Command) > 0, "the program is built from the image's package"},
		{"workingDir", c.WorkingDir != "", "processes have no root directory of their own"},
		{"envFrom", len(c.EnvFrom) > 0, "there are no Secrets locally, and ConfigMaps are not mounted"},
		{"lifecycle", c.Lifecycle != nil, "hooks are not run"},
		{"volumeDevices", len(c.VolumeDevices) > 0, "there are no devices"},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), f.why))
		}
	}

	errs = append(errs, p.setEnv(o, c.Env, at.Child("env"))...)
	errs = append(errs, p.setPort(c, at.Child("ports"))...)
	errs = append(errs, p.setProbe(c, at.Child("readinessProbe"))...)
	errs = append(errs, s.setMounts(&p, pod.Volumes, c.VolumeMounts, at)...)
	return p, errs
}

func (p *Program) setEnv(o metav1.Object, env []corev1.EnvVar, at *field.Path) (errs field.ErrorList) {
	for i, e := range env {
		from := e.ValueFrom
		switch {
		case from == nil:
			p.Env = append(p.Env, corev1.EnvVar{Name: e.Name, Value: e.Value})
		case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.namespace":
			p.Env = append(p.Env, corev1.EnvVar{Name: e.Name, Value: o.GetNamespace()})
		case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
			p.Env = append(p.Env, corev1.EnvVar{Name: e.Name, Value: o.GetName()})
		case from.SecretKeyRef != nil && from.SecretKeyRef.Optional != nil && *from.SecretKeyRef.Optional,
			from.ConfigMapKeyRef != nil && from.ConfigMapKeyRef.Optional != nil && *from.ConfigMapKeyRef.Optional:
			// As on a cluster that does not have it: the variable is not set.
		default:
			errs = append(errs, field.Forbidden(at.Index(i).Child("valueFrom"), "expected a fieldRef to metadata.name or metadata.namespace, or an optional key of a Secret or ConfigMap (which is absent here)"))
		}
	}
	return errs
}

func (p *Program) setPort(c corev1.Container, at *field.Path) (errs field.ErrorList) {
	p.Port = defaultPort
	if len(c.Ports) > 1 {
		return field.ErrorList{field.Invalid(at, len(c.Ports), "a process gets one port, in PORT; expected at most 1")}
	}
	if len(c.Ports) == 1 && c.Ports[0].ContainerPort != 0 {
		p.Port = c.Ports[0].ContainerPort
	}
	return nil
}

// setProbe takes over a readiness probe by HTTP. One by TCP is what happens without any.
func (p *Program) setProbe(c corev1.Container, at *field.Path) field.ErrorList {
	probe := c.ReadinessProbe
	switch {
	case probe == nil || probe.TCPSocket != nil:
		return nil
	case probe.HTTPGet == nil:
		return field.ErrorList{field.Forbidden(at, "expected httpGet or tcpSocket")}
	}
	port := probe.HTTPGet.Port
	named := port.Type == intstr.String && len(c.Ports) == 1 && c.Ports[0].Name == port.StrVal
	if !named && port != intstr.FromInt32(p.Port) && port != intstr.FromInt32(0) && port != (intstr.IntOrString{}) {
		return field.ErrorList{field.Invalid(at.Child("httpGet", "port"), port.String(), fmt.Sprintf("a process gets one port; expected %d or its name", p.Port))}
	}
	p.Probe = path.Join("/", probe.HTTPGet.Path)
	return nil
}

func (s *Set) setMounts(p *Program, volumes []corev1.Volume, mounts []corev1.VolumeMount, at *field.Path) (errs field.ErrorList) {
	for i, m := range mounts {
		at := at.Child("volumeMounts").Index(i)
		n := slices.IndexFunc(volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if n < 0 {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
			continue
		}
		if m.SubPath != "" || m.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("subPath"), "a volume is one directory here"))
		}
		mount := Mount{Path: path.Clean(m.MountPath)}
		switch v := volumes[n]; {
		case v.PersistentVolumeClaim != nil:
			mount.Claim = v.PersistentVolumeClaim.ClaimName
			if !has(s.Claims, p.Namespace, mount.Claim) {
				errs = append(errs, field.NotFound(at.Child("name"), "PersistentVolumeClaim "+mount.Claim))
			}
		case v.EmptyDir != nil:
		case v.Secret != nil && v.Secret.Optional != nil && *v.Secret.Optional:
			// As on a cluster that does not have it: an empty directory.
		default:
			errs = append(errs, field.Forbidden(at.Child("name"), fmt.Sprintf("volume %s: expected a persistentVolumeClaim, an emptyDir or an optional secret (which is absent here)", m.Name)))
		}
		p.Mounts = append(p.Mounts, mount)
	}
	return errs
}
