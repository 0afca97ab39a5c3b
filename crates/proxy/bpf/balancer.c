// The socket balancer: what a TCP socket of a Pod or of the node does when it connects to a Service.
//
// connect(2) to a Service's address becomes one to an endpoint, before the first packet: no packet of the connection meets NAT.
// getpeername(2) goes on saying the Service's address. The choice is the nf_tables rules' own: a random endpoint of the same list,
// or the one that the client stays with.
//
// Invariant: whatever is not found here (an unknown address, a Service that refuses or drops or asks for the client's
// address, a full map, a race lost) is left as it is, and the rules decide.
//
// Built by `cargo xtask bpf`. Only the kernel's stable interface is used, so that neither BTF nor headers are needed; what
// follows up to the maps is from linux/bpf.h. The maps are made by crates/proxy/src/socket, which has the same layouts.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct bpf_sock {
	u32 bound_dev_if;
	u32 family;
	u32 type;
	u32 protocol;
	u32 mark;
	u32 priority;
	u32 src_ip4;
	u32 src_ip6[4];
};

struct bpf_sock_addr {
	u32 user_family;
	u32 user_ip4;
	u32 user_ip6[4];
	u32 user_port;
	u32 family;
	u32 type;
	u32 protocol;
	u32 msg_src_ip4;
	u32 msg_src_ip6[4];
	union {
		struct bpf_sock *sk;
		u64 : 64;
	} __attribute__((aligned(8)));
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*get_prandom_u32)(void) = (void *)7;
static void *(*sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*sk_storage_delete)(void *map, void *sk) = (void *)108;
static u64 (*get_netns_cookie)(void *ctx) = (void *)122;

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_SK_STORAGE_GET_F_CREATE = 1 };
enum { SOCK_STREAM = 1, IPPROTO_TCP = 6, NANOSECONDS = 1000000000 };

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))
#define be32(n) __builtin_bswap32(n)

// An address that clients connect to, and the name of a service port. IPv4 is written as ::ffff:a.b.c.d.
struct address {
	u32 ip[4];
	u16 port;
	u8 protocol;
	// 0, or 1 for a port on every address of the node; then the address is unspecified.
	u8 node_port;
};

struct endpoint {
	u32 ip[4];
	u16 port;
	u16 zero;
};

// Where connections to an address go.
struct target {
	struct address service;
	// 0 the whole cluster's endpoints, 1 this node's.
	u32 list;
	// For how many seconds a client stays with an endpoint; 0 for no affinity.
	u32 affinity;
};

// The two lists of a service port. A set of endpoints never changes: another list is another set, and this is what is swapped.
struct lists {
	u32 set[2];
	u32 count[2];
};

struct slot {
	u32 set;
	u32 number;
};

struct member {
	u32 set;
	struct endpoint endpoint;
};

// A client is a network namespace, which has one address of each family.
struct client {
	struct address service;
	u32 zero;
	u64 netns;
};

struct known {
	struct endpoint endpoint;
	u32 zero;
	u64 used;
};

struct peer {
	struct address shown;
	struct endpoint real;
};

struct map;
extern struct map frontends;
extern struct map services;
extern struct map endpoints;
extern struct map members;
extern struct map clients;
extern struct map node_ips;
extern struct map peers;

static inline int equal(const void *a, const void *b, u32 words)
{
	const u32 *x = a, *y = b;
	for (u32 i = 0; i < words; i++)
		if (x[i] != y[i])
			return 0;
	return 1;
}

// The endpoint that the client stays with, if it is still in the set.
static inline int recall(struct client *client, u32 affinity, u32 set, struct endpoint *endpoint)
{
	struct known *known = map_lookup(&clients, client);
	u64 now = ktime_get_ns();
	if (!known || now - known->used >= (u64)affinity * NANOSECONDS)
		return 0;
	struct member member = { .set = set, .endpoint = known->endpoint };
	if (!map_lookup(&members, &member))
		return 0;
	known->used = now;
	*endpoint = member.endpoint;
	return 1;
}

static inline void remember(struct client *client, const struct endpoint *endpoint)
{
	struct known known = { .endpoint = *endpoint, .used = ktime_get_ns() };
	map_update(&clients, client, &known, BPF_ANY);
}

// Chooses the endpoint for a connection to an address; 0 when that is not ours to do.
//
// The kernel reuses memory of map elements at once, so that what was read may be another element's by then. It counts
// only if it is still there, the same, after all has been read.
static inline int choose(struct bpf_sock_addr *ctx, struct address *to, struct endpoint *chosen)
{
	struct target *found = map_lookup(&frontends, to);
	if (!found) {
		if (!map_lookup(&node_ips, to->ip))
			return 0;
		u32 family = to->ip[2];
		to->ip[0] = to->ip[1] = to->ip[3] = 0;
		to->ip[2] = family == be32(0xffff) ? family : 0;
		to->node_port = 1;
		found = map_lookup(&frontends, to);
		if (!found)
			return 0;
	}
	struct target target = *found;
	struct lists *current = map_lookup(&services, &target.service);
	if (!current)
		return 0;
	struct lists lists = *current;
	u32 set = target.list ? lists.set[1] : lists.set[0];
	u32 count = target.list ? lists.count[1] : lists.count[0];

	struct client client = { .service = target.service };
	int stays = 0;
	if (target.affinity) {
		client.netns = get_netns_cookie(ctx);
		stays = recall(&client, target.affinity, set, chosen);
	}
	if (!stays) {
		struct slot slot = { .set = set, .number = (u64)get_prandom_u32() * count >> 32 };
		struct endpoint *endpoint = map_lookup(&endpoints, &slot);
		if (!endpoint)
			return 0;
		*chosen = *endpoint;
	}
	found = map_lookup(&frontends, to);
	current = map_lookup(&services, &target.service);
	if (!found || !current || !equal(found, &target, sizeof(target) / 4) || !equal(current, &lists, sizeof(lists) / 4))
		return 0;
	if (target.affinity && !stays)
		remember(&client, chosen);
	return 1;
}

// Sockets that are bound to a device or to loopback route differently from those that are not: left to the rules.
static inline int takes_part(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk || ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || sk->bound_dev_if)
		return 0;
	return (sk->src_ip4 & be32(0xff000000)) != be32(0x7f000000);
}

static inline int connect(struct bpf_sock_addr *ctx, struct address *to, struct endpoint *chosen)
{
	struct address shown = *to;
	if (!choose(ctx, to, chosen)) {
		// It may have been connected to a Service before.
		sk_storage_delete(&peers, ctx->sk);
		return 0;
	}
	struct peer *peer = sk_storage_get(&peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!peer)
		return 0;
	peer->shown = shown;
	peer->real = *chosen;
	return 1;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
	struct address to = { .ip = { 0, 0, be32(0xffff), 0 }, .protocol = IPPROTO_TCP };
	struct endpoint chosen = {};
	if (!takes_part(ctx))
		return 1;
	to.ip[3] = ctx->user_ip4;
	to.port = ctx->user_port;
	if (connect(ctx, &to, &chosen)) {
		ctx->user_ip4 = chosen.ip[3];
		ctx->user_port = chosen.port;
	}
	return 1;
}

SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx)
{
	struct address to = { .protocol = IPPROTO_TCP };
	struct endpoint chosen = {};
	if (!takes_part(ctx))
		return 1;
	struct bpf_sock *sk = ctx->sk;
	if (!(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2]) && sk->src_ip6[3] == be32(1))
		return 1;
	to.ip[0] = ctx->user_ip6[0];
	to.ip[1] = ctx->user_ip6[1];
	to.ip[2] = ctx->user_ip6[2];
	to.ip[3] = ctx->user_ip6[3];
	to.port = ctx->user_port;
	if (connect(ctx, &to, &chosen)) {
		ctx->user_ip6[0] = chosen.ip[0];
		ctx->user_ip6[1] = chosen.ip[1];
		ctx->user_ip6[2] = chosen.ip[2];
		ctx->user_ip6[3] = chosen.ip[3];
		ctx->user_port = chosen.port;
	}
	return 1;
}

static inline struct peer *peer_of(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct peer *peer = sk ? sk_storage_get(&peers, sk, 0, 0) : 0;
	return peer && peer->real.port == (u16)ctx->user_port ? peer : 0;
}

SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr *ctx)
{
	struct peer *peer = peer_of(ctx);
	if (peer && peer->real.ip[3] == ctx->user_ip4) {
		ctx->user_ip4 = peer->shown.ip[3];
		ctx->user_port = peer->shown.port;
	}
	return 1;
}

SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr *ctx)
{
	struct peer *peer = peer_of(ctx);
	if (peer && peer->real.ip[0] == ctx->user_ip6[0] && peer->real.ip[1] == ctx->user_ip6[1] &&
	    peer->real.ip[2] == ctx->user_ip6[2] && peer->real.ip[3] == ctx->user_ip6[3]) {
		ctx->user_ip6[0] = peer->shown.ip[0];
		ctx->user_ip6[1] = peer->shown.ip[1];
		ctx->user_ip6[2] = peer->shown.ip[2];
		ctx->user_ip6[3] = peer->shown.ip[3];
		ctx->user_port = peer->shown.port;
	}
	return 1;
}
