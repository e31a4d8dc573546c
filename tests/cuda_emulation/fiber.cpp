#include "fiber.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef EMU_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64 only"
#endif

/* Saves what a called function must keep, changes stacks, and goes on where the other one left. */
asm(R"(
.text
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emu_switch, . - emu_switch
)");
extern "C" void emu_switch(void **save_stack_pointer, void *stack_pointer);

namespace emu
{

static const size_t guard_bytes = 4096, stack_bytes = 256 << 10, saved_registers = 6;

/* The host thread that has entered a fiber; one at a time, since the runtime has one lock. */
static struct {
    void *stack_pointer;
    void *fake_stack;
    const void *stack_bottom;
    size_t stack_bytes;
    void *tsan_fiber;
    Fiber *entered;
} host;

Fiber::Fiber(void (*body)(void *), void *argument) : body_(body), argument_(argument)
{
    void *mapping = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED || mprotect(mapping, guard_bytes, PROT_NONE) != 0) {
        perror("emulation: no memory for the stack of a fiber");
        abort();
    }
    mapping_ = static_cast<char *>(mapping);
    void **top = reinterpret_cast<void **>(mapping_ + guard_bytes + stack_bytes);
    *--top = nullptr; /* where a caller's return address would be: keeps the alignment of a call */
    *--top = reinterpret_cast<void *>(start);
    for (size_t i = 0; i < saved_registers; i++) {
        *--top = nullptr;
    }
    stack_pointer_ = top;
#ifdef EMU_TSAN
    tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber()
{
#ifdef EMU_TSAN
    __tsan_destroy_fiber(tsan_fiber_);
#endif
    munmap(mapping_, guard_bytes + stack_bytes);
}

void Fiber::enter()
{
    host.entered = this;
#ifdef EMU_TSAN
    host.tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_fiber_, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&host.fake_stack, mapping_ + guard_bytes, stack_bytes);
#endif
    emu_switch(&host.stack_pointer, stack_pointer_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(host.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave()
{
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(host.tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fake_stack_, host.stack_bottom, host.stack_bytes);
#endif
    emu_switch(&stack_pointer_, host.stack_pointer);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack_, &host.stack_bottom, &host.stack_bytes);
#endif
}

void Fiber::start()
{
    Fiber *self = host.entered;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &host.stack_bottom, &host.stack_bytes);
#endif
    for (;;) {
        self->body_(self->argument_);
        self->leave();
    }
}

#ifdef EMU_TSAN
void tsan_release(void *tag)
{
    __tsan_release(tag);
}

void tsan_acquire(void *tag)
{
    __tsan_acquire(tag);
}
#else
void tsan_release(void *)
{
}

void tsan_acquire(void *)
{
}
#endif

} // namespace emu
