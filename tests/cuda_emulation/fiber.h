/* A fiber: a stack of its own on which one CUDA thread runs, entered and left by plain calls. Tells
 * AddressSanitizer and ThreadSanitizer of every switch, so that both work on kernels.
 */
#ifndef CM_TESTS_CUDA_EMULATION_FIBER_H
#define CM_TESTS_CUDA_EMULATION_FIBER_H

#include <cstddef>

namespace emu
{

class Fiber
{
  public:
    /* `body` is called again each time the fiber is entered after it has returned. */
    Fiber(void (*body)(void *), void *argument);
    Fiber(const Fiber &) = delete;
    ~Fiber();

    void enter(); /* from the host thread's own stack: runs until the fiber leaves */
    void leave(); /* from inside */

  private:
    static void start();

    void (*body_)(void *);
    void *argument_;
    char *mapping_;              /* a guard page, then the stack */
    void *stack_pointer_;        /* while it is not running */
    void *fake_stack_ = nullptr; /* of AddressSanitizer */
    void *tsan_fiber_ = nullptr;
};

/* What ThreadSanitizer may conclude: everything before release(tag) happens before everything after
 * a later acquire(tag). Without it, nothing. */
void tsan_release(void *tag);
void tsan_acquire(void *tag);

} // namespace emu

#endif
