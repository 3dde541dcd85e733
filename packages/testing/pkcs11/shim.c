/*
 * A PKCS#11 module for tests. It forwards calls to a real module, counts them, and injects faults as ordered.
 * README.md describes the orders; src/daemons/pkcs11-shim.ts writes them. Requires Linux with 64-bit words.
 *
 *   TEAPOT_SHIM_MODULE    the real module (default: SoftHSM2)
 *   TEAPOT_SHIM_COUNTERS  a file of 64-bit words (`struct shared`), shared by all processes
 *   TEAPOT_SHIM_CONTROL   the orders, one per line. The writer replaces the file and then increments `generation` in the
 *                         counters. Each call compares this number first: that is a load from memory, whereas a stat()
 *                         would take almost a µs
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* Every argument and result of PKCS#11 is a pointer or a CK_ULONG, except one CK_BBOOL (C_GetSlotList). */
typedef unsigned long word;
_Static_assert(sizeof(word) == 8 && sizeof(void *) == 8, "64-bit words");

enum {
  CKR_OK = 0x0,
  CKR_GENERAL_ERROR = 0x5,
  CKR_DEVICE_REMOVED = 0x32,
  CKR_MECHANISM_INVALID = 0x70,
  CKR_MECHANISM_PARAM_INVALID = 0x71,
  CKR_TOKEN_NOT_PRESENT = 0xE0,
  CKR_BUFFER_TOO_SMALL = 0x150,
  CKM_AES_GCM = 0x1087,
  CKF_TOKEN_PRESENT = 1,
};
struct mechanism { word mechanism; void *parameter; word length; };
struct gcm_parameters { unsigned char *iv; word iv_length; /* further fields depend on the version */ };
struct slot_info { char description[64], manufacturer[32]; word flags; /* versions follow */ };

/* The functions of PKCS#11 2.40 without C_ and their number of arguments, in the order of CK_FUNCTION_LIST. */
#define FUNCTIONS(X) \
  X(Initialize, 1) X(Finalize, 1) X(GetInfo, 1) X(GetFunctionList, 1) X(GetSlotList, 3) \
  X(GetSlotInfo, 2) X(GetTokenInfo, 2) X(GetMechanismList, 3) X(GetMechanismInfo, 3) X(InitToken, 4) \
  X(InitPIN, 3) X(SetPIN, 5) X(OpenSession, 5) X(CloseSession, 1) X(CloseAllSessions, 1) \
  X(GetSessionInfo, 2) X(GetOperationState, 3) X(SetOperationState, 5) X(Login, 4) X(Logout, 1) \
  X(CreateObject, 4) X(CopyObject, 5) X(DestroyObject, 2) X(GetObjectSize, 3) X(GetAttributeValue, 4) \
  X(SetAttributeValue, 4) X(FindObjectsInit, 3) X(FindObjects, 4) X(FindObjectsFinal, 1) \
  X(EncryptInit, 3) X(Encrypt, 5) X(EncryptUpdate, 5) X(EncryptFinal, 3) X(DecryptInit, 3) \
  X(Decrypt, 5) X(DecryptUpdate, 5) X(DecryptFinal, 3) X(DigestInit, 2) X(Digest, 5) \
  X(DigestUpdate, 3) X(DigestKey, 2) X(DigestFinal, 3) X(SignInit, 3) X(Sign, 5) X(SignUpdate, 3) \
  X(SignFinal, 3) X(SignRecoverInit, 3) X(SignRecover, 5) X(VerifyInit, 3) X(Verify, 5) \
  X(VerifyUpdate, 3) X(VerifyFinal, 3) X(VerifyRecoverInit, 3) X(VerifyRecover, 5) \
  X(DigestEncryptUpdate, 5) X(DecryptDigestUpdate, 5) X(SignEncryptUpdate, 5) X(DecryptVerifyUpdate, 5) \
  X(GenerateKey, 5) X(GenerateKeyPair, 8) X(WrapKey, 6) X(UnwrapKey, 8) X(DeriveKey, 6) X(SeedRandom, 3) \
  X(GenerateRandom, 3) X(GetFunctionStatus, 1) X(CancelFunction, 1) X(WaitForSlotEvent, 3)

#define INDEX(name, arity) name,
enum { FUNCTIONS(INDEX) COUNT };
#define NAME(name, arity) "C_" #name,
static const char *const NAMES[COUNT] = {FUNCTIONS(NAME)};
#define ARITY(name, arity) arity,
static const unsigned char ARITIES[COUNT] = {FUNCTIONS(ARITY)};

typedef void (*function)(void);
struct function_list { unsigned char major, minor; function functions[COUNT]; };

enum { MAX_ORDERS = 64, MAX_MECHANISMS = 512 };
/* Bytes before the flags in CK_TOKEN_INFO: label, manufacturer, model, serial number. */
enum { TOKEN_INFO_FLAGS = 32 + 32 + 16 + 16 };

/* The counter file. The low half of `fired` counts how often an order took effect; the high half is its generation. */
struct shared {
  _Atomic uint64_t calls[COUNT];
  _Atomic uint64_t generation;
  _Atomic uint64_t fired[MAX_ORDERS];
};

enum kind { LATENCY, FAIL, FAIL_AFTER, HANG, SEGFAULT, RANDOM };
struct order {
  enum kind kind;
  bool functions[COUNT];
  word result;
  uint32_t limit; /* how often the order takes effect; 0: always */
  double ms, permille;
};
struct orders {
  uint64_t generation;
  bool concerned[COUNT]; /* the functions that any order affects */
  unsigned count;
  struct order list[MAX_ORDERS];
  bool gcm_iv_own, token_absent;
  word token_flags;
  unsigned mechanism_count; /* 0: all */
  word mechanisms[MAX_MECHANISMS];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t parsing = PTHREAD_MUTEX_INITIALIZER;
static struct function_list *real, ours;
static struct shared *shared;
static _Atomic(struct orders *) current;

/* Aborts the process, so that a test cannot pass with an invalid order. */
static _Noreturn void give_up(const char *what, const char *which) {
  fprintf(stderr, "PKCS#11 shim: %s: %s\n", what, which);
  abort();
}

/* ---- Calling the real module ---- */

static word forward(unsigned f, const word *a) {
  function to = real->functions[f];
  switch (ARITIES[f]) {
  case 1: return ((word(*)(word))to)(a[0]);
  case 2: return ((word(*)(word, word))to)(a[0], a[1]);
  case 3: return ((word(*)(word, word, word))to)(a[0], a[1], a[2]);
  case 4: return ((word(*)(word, word, word, word))to)(a[0], a[1], a[2], a[3]);
  case 5: return ((word(*)(word, word, word, word, word))to)(a[0], a[1], a[2], a[3], a[4]);
  case 6: return ((word(*)(word, word, word, word, word, word))to)(a[0], a[1], a[2], a[3], a[4], a[5]);
  default:
    return ((word(*)(word, word, word, word, word, word, word, word))to)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
  }
}

/* Closes all sessions and ends the login, like a restart of the token. */
static void drop_sessions(void) {
  word slots[64], count = 64;
  if (forward(GetSlotList, (word[]){1, (word)slots, (word)&count}) != CKR_OK) return;
  for (word i = 0; i < count; i++) forward(CloseAllSessions, &slots[i]);
}

/* ---- Reading orders ---- */

static void choose_function(struct order *order, const char *name) {
  bool any = strcmp(name, "*") == 0, found = any;
  for (unsigned f = 0; f < COUNT; f++) {
    if (!any && strcmp(name, NAMES[f]) != 0) continue;
    order->functions[f] = found = true;
  }
  if (!found) give_up("unknown function", name);
}

static double number(const char *text, const char *line) {
  char *end = NULL;
  double value = text ? strtod(text, &end) : -1; /* accepts 0x... too */
  if (!text || end == text || *end != '\0' || value < 0) give_up("missing or invalid number", line);
  return value;
}

static void concern_all(struct orders *orders) { memset(orders->concerned, true, sizeof orders->concerned); }

/* Parses an order for the whole token. Returns false if the line is another order. */
static bool parse_trait(struct orders *orders, const char *verb, char **rest, const char *line) {
  const char *what = strtok_r(NULL, " ", rest);
  if (!what) give_up("missing object of the order", line);
  if (strcmp(verb, "token") == 0 && strcmp(what, "absent") == 0) {
    orders->token_absent = true;
    drop_sessions();
    concern_all(orders);
  } else if (strcmp(verb, "token") == 0 && strcmp(what, "reset") == 0) {
    drop_sessions();
  } else if (strcmp(verb, "token") == 0 && strcmp(what, "flags") == 0) {
    char *flags = strtok_r(NULL, " ", rest);
    if (!flags) give_up("missing flags", line);
    orders->token_flags |= (word)number(flags, line);
    orders->concerned[GetTokenInfo] = true;
  } else if (strcmp(verb, "gcm-iv") == 0 && strcmp(what, "own") == 0) {
    orders->gcm_iv_own = true;
    orders->concerned[EncryptInit] = true;
  } else if (strcmp(verb, "mechanisms") == 0 && strcmp(what, "only") == 0) {
    char *list = strtok_r(NULL, " ", rest), *state = NULL;
    if (!list) give_up("missing mechanisms", line);
    for (char *one = strtok_r(list, ",", &state); one; one = strtok_r(NULL, ",", &state)) {
      if (orders->mechanism_count == MAX_MECHANISMS) give_up("too many mechanisms", line);
      orders->mechanisms[orders->mechanism_count++] = (word)number(one, line);
    }
    concern_all(orders);
  } else {
    return false;
  }
  return true;
}

static void parse_line(struct orders *orders, char *text) {
  char *line = strdup(text), *rest = NULL, *verb = strtok_r(text, " ", &rest);
  if (verb && verb[0] != '#') {
    static const char *const VERBS[] = {"latency", "fail", "fail-after", "hang", "segfault", "random"};
    unsigned kind = 0;
    while (kind <= RANDOM && strcmp(verb, VERBS[kind]) != 0) kind++;
    if (kind > RANDOM) {
      if (!parse_trait(orders, verb, &rest, line)) give_up("unknown order", line);
    } else {
      if (orders->count == MAX_ORDERS) give_up("too many orders", line);
      struct order *order = &orders->list[orders->count++];
      order->kind = (enum kind)kind;
      if (kind == RANDOM) {
        order->permille = number(strtok_r(NULL, " ", &rest), line);
        order->result = (word)number(strtok_r(NULL, " ", &rest), line);
      }
      char *name = strtok_r(NULL, " ", &rest);
      if (!name) give_up("missing function of the order", line);
      choose_function(order, name);
      if (kind == LATENCY) order->ms = number(strtok_r(NULL, " ", &rest), line);
      if (kind == FAIL || kind == FAIL_AFTER) order->result = (word)number(strtok_r(NULL, " ", &rest), line);
      for (char *more = strtok_r(NULL, " ", &rest); more; more = strtok_r(NULL, " ", &rest)) {
        if (kind == RANDOM) choose_function(order, more);
        else if (kind != LATENCY && order->limit == 0) order->limit = (uint32_t)number(more, line);
        else give_up("too many words", line);
      }
      for (unsigned f = 0; f < COUNT; f++) orders->concerned[f] |= order->functions[f];
    }
  }
  free(line);
}

/* Returns the current orders. Old ones are never freed, because another thread may still use them. */
static const struct orders *orders_now(void) {
  struct orders *orders = atomic_load_explicit(&current, memory_order_acquire);
  uint64_t generation = atomic_load_explicit(&shared->generation, memory_order_relaxed);
  if (orders && orders->generation == generation) return orders;
  pthread_mutex_lock(&parsing);
  orders = atomic_load(&current);
  if (!orders || orders->generation != generation) {
    orders = calloc(1, sizeof *orders);
    if (!orders) abort();
    orders->generation = generation;
    const char *path = getenv("TEAPOT_SHIM_CONTROL");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file && path && errno != ENOENT) give_up(strerror(errno), path);
    char line[4096];
    while (file && fgets(line, sizeof line, file)) {
      line[strcspn(line, "\n")] = '\0';
      parse_line(orders, line);
    }
    if (file) fclose(file);
    atomic_store_explicit(&current, orders, memory_order_release);
  }
  pthread_mutex_unlock(&parsing);
  return orders;
}

/* ---- Executing orders ---- */

/* Counts an effect of an order over all processes. Returns false if the order has reached its limit. */
static bool fires(const struct orders *orders, const struct order *order) {
  _Atomic uint64_t *slot = &shared->fired[order - orders->list];
  uint32_t generation = (uint32_t)orders->generation;
  uint64_t seen = atomic_load(slot), next;
  do {
    uint32_t count = (uint32_t)(seen >> 32) == generation ? (uint32_t)seen : 0;
    if ((int32_t)((uint32_t)(seen >> 32) - generation) > 0) return false; /* another process already has newer orders */
    if (order->limit != 0 && count >= order->limit) return false;
    next = (uint64_t)generation << 32 | (count + 1);
  } while (!atomic_compare_exchange_weak(slot, &seen, next));
  return true;
}

static double chance(void) {
  static _Thread_local uint64_t state;
  while (state == 0 && getrandom(&state, sizeof state, 0) != sizeof state) continue;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
  return (double)(state >> 11) / (double)(UINT64_C(1) << 53) * 1000;
}

static void sleep_ms(double ms) {
  struct timespec left = {.tv_sec = (time_t)(ms / 1e3), .tv_nsec = (long)((ms - 1e3 * (double)(time_t)(ms / 1e3)) * 1e6)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static bool has_mechanism(const struct orders *orders, word mechanism) {
  for (unsigned i = 0; i < orders->mechanism_count; i++) {
    if (orders->mechanisms[i] == mechanism) return true;
  }
  return orders->mechanism_count == 0;
}

static word mechanism_list(const struct orders *orders, word slot, word *list, word *count) {
  word all[MAX_MECHANISMS], all_count = MAX_MECHANISMS, room = *count;
  word result = forward(GetMechanismList, (word[]){slot, (word)all, (word)&all_count});
  if (result != CKR_OK) return result;
  *count = 0;
  for (word i = 0; i < all_count; i++) {
    if (!has_mechanism(orders, all[i])) continue;
    if (list && *count < room) list[*count] = all[i];
    ++*count;
  }
  return list && *count > room ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

/* Some HSMs in FIPS mode generate the IV themselves and write it to the buffer of the caller. */
static word take_own_iv(const struct mechanism *mechanism) {
  const struct gcm_parameters *gcm = mechanism->parameter;
  if (mechanism->mechanism != CKM_AES_GCM || !gcm || mechanism->length < sizeof *gcm) return CKR_OK;
  for (word i = 0; i < gcm->iv_length; i++) {
    if (gcm->iv[i] != 0) return CKR_MECHANISM_PARAM_INVALID;
  }
  return getrandom(gcm->iv, gcm->iv_length, 0) == (ssize_t)gcm->iv_length ? CKR_OK : CKR_GENERAL_ERROR;
}

/* Applies the orders for the whole token. Returns true if `result` is the answer and the call needs no forwarding. */
static bool answer(const struct orders *orders, unsigned f, const word *a, word *result) {
  bool absent = orders->token_absent, choosy = orders->mechanism_count != 0;
  *result = CKR_OK;
  switch (f) {
  case Initialize: case Finalize: case GetInfo: case WaitForSlotEvent:
    return false;
  case GetSlotList:
    if (absent && (a[0] & 0xff)) *(word *)a[2] = 0;
    return absent && (a[0] & 0xff);
  case GetSlotInfo:
    *result = forward(f, a);
    if (absent && *result == CKR_OK) ((struct slot_info *)a[1])->flags &= ~(word)CKF_TOKEN_PRESENT;
    return true;
  case GetTokenInfo:
    *result = absent ? CKR_TOKEN_NOT_PRESENT : forward(f, a);
    if (*result == CKR_OK) *(word *)((char *)a[1] + TOKEN_INFO_FLAGS) |= orders->token_flags;
    return true;
  case InitToken: case OpenSession: case CloseAllSessions:
    *result = CKR_TOKEN_NOT_PRESENT;
    return absent;
  case GetMechanismList:
    *result = absent ? CKR_TOKEN_NOT_PRESENT : mechanism_list(orders, a[0], (word *)a[1], (word *)a[2]);
    return absent || choosy;
  case GetMechanismInfo:
    *result = absent ? CKR_TOKEN_NOT_PRESENT : CKR_MECHANISM_INVALID;
    return absent || !has_mechanism(orders, a[1]);
  }
  *result = CKR_DEVICE_REMOVED;
  if (absent) return true;
  *result = CKR_MECHANISM_INVALID;
  switch (f) {
  case EncryptInit: case DecryptInit: case SignInit: case VerifyInit: case WrapKey: case UnwrapKey:
    if (!has_mechanism(orders, ((const struct mechanism *)a[1])->mechanism)) return true;
  }
  if (f == EncryptInit && orders->gcm_iv_own) *result = take_own_iv((const struct mechanism *)a[1]);
  else *result = CKR_OK;
  return *result != CKR_OK;
}

/* A query of the output length. The library of a token answers it without a call to the token, so it has no latency. */
static bool asks_for_length(unsigned f, const word *a) { return (f == Encrypt || f == Decrypt) && a[3] == 0; }

static word misbehave(const struct orders *orders, unsigned f, const word *a) {
  bool pretend = false;
  word pretended = CKR_OK, result;
  for (const struct order *order = orders->list; order < orders->list + orders->count; order++) {
    if (!order->functions[f] || (order->kind == RANDOM && chance() >= order->permille)) continue;
    if (!fires(orders, order)) continue;
    static int *volatile nowhere;
    switch (order->kind) {
    case LATENCY: if (!asks_for_length(f, a)) sleep_ms(order->ms); break;
    case FAIL: case RANDOM: return order->result;
    case FAIL_AFTER: pretend = true, pretended = order->result; break;
    case HANG: for (;;) pause();
    case SEGFAULT: *nowhere = 1;
    }
  }
  if (!answer(orders, f, a, &result)) result = forward(f, a);
  return pretend ? pretended : result;
}

static word call(unsigned f, const word *a) {
  atomic_fetch_add_explicit(&shared->calls[f], 1, memory_order_relaxed);
  const struct orders *orders = orders_now();
  return orders->concerned[f] ? misbehave(orders, f, a) : forward(f, a);
}

/* ---- The module ---- */

#define PARAMETERS_1 word a
#define PARAMETERS_2 PARAMETERS_1, word b
#define PARAMETERS_3 PARAMETERS_2, word c
#define PARAMETERS_4 PARAMETERS_3, word d
#define PARAMETERS_5 PARAMETERS_4, word e
#define PARAMETERS_6 PARAMETERS_5, word g
#define PARAMETERS_8 PARAMETERS_6, word h, word i
#define ARGUMENTS_1 a
#define ARGUMENTS_2 ARGUMENTS_1, b
#define ARGUMENTS_3 ARGUMENTS_2, c
#define ARGUMENTS_4 ARGUMENTS_3, d
#define ARGUMENTS_5 ARGUMENTS_4, e
#define ARGUMENTS_6 ARGUMENTS_5, g
#define ARGUMENTS_8 ARGUMENTS_6, h, i
#define DEFINE(name, arity) \
  static word our_##name(PARAMETERS_##arity) { return call(name, (word[]){ARGUMENTS_##arity}); }
FUNCTIONS(DEFINE)

__attribute__((visibility("default"))) word C_GetFunctionList(struct function_list **list);

static void load(void) {
  const char *counters = getenv("TEAPOT_SHIM_COUNTERS"), *module = getenv("TEAPOT_SHIM_MODULE");
  if (!counters) give_up("not set", "TEAPOT_SHIM_COUNTERS");
  int file = open(counters, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof *shared) != 0) give_up(strerror(errno), counters);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) give_up(strerror(errno), counters);
  close(file);

  void *library = dlopen(module ? module : "/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
  word (*get_list)(struct function_list **) = NULL;
  if (library) *(void **)&get_list = dlsym(library, "C_GetFunctionList");
  if (!get_list || get_list(&real) != CKR_OK) give_up("cannot load the real module", dlerror());
  ours.major = real->major, ours.minor = real->minor;
#define FILL(name, arity) ours.functions[name] = (function)our_##name;
  FUNCTIONS(FILL)
  ours.functions[GetFunctionList] = (function)(word(*)(struct function_list **))C_GetFunctionList;
}

word C_GetFunctionList(struct function_list **list) {
  pthread_once(&once, load);
  atomic_fetch_add(&shared->calls[GetFunctionList], 1);
  *list = &ours;
  return CKR_OK;
}
