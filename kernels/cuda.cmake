# How the files of kernels/cuda are built.
#
# COPYMILL_CUDA=ON       by nvcc, linked with the toolkit's libraries
# COPYMILL_CUDA=EMULATED by the C++ compiler against the real headers; links tests/cuda_emulation
#
# copymill_cuda_sources(<target> a.cu ...)  adds kernels to a target
# copymill_cuda_runtime                     what such a target links: headers and libraries

if(COPYMILL_CUDA STREQUAL "EMULATED")
  include(${PROJECT_SOURCE_DIR}/tests/cuda_emulation/emulation.cmake)
elseif(COPYMILL_CUDA)
  find_program(CMAKE_CUDA_COMPILER nvcc PATHS /usr/local/cuda/bin REQUIRED)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100) # the last also as PTX, for later ones
  endif()
  enable_language(CXX CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  find_package(CUDAToolkit REQUIRED)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
  add_library(copymill_cuda_runtime INTERFACE)
  target_include_directories(copymill_cuda_runtime SYSTEM INTERFACE
    ${CUDAToolkit_INCLUDE_DIRS} ${NCCL_INCLUDE_DIR})
  target_compile_definitions(copymill_cuda_runtime INTERFACE COPYMILL_CUDA=1)
  target_link_libraries(copymill_cuda_runtime INTERFACE
    CUDA::cudart CUDA::cublasLt ${NCCL_LIBRARY})

  function(copymill_cuda_sources target)
    target_sources(${target} PRIVATE ${ARGN})
    target_compile_options(${target} PRIVATE
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra;-Werror=all-warnings>"
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-warn-spills,-warn-lmem-usage,-Werror>")
  endfunction()
endif()
